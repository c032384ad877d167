"""Models are downloaded before CVAT asks for them; one that cannot be is left alone for a while."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.base import Context, ModelCard
from adapters.errors import Unavailable
from bridge.nuclio.loading import Loading
from tests.unit.bridge.world import world


async def test_what_is_registered_is_downloaded_and_a_failure_is_not_repeated_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.nuclio.loading.LOOK_EVERY_S", 0.01)
    asked: list[str] = []
    async with world(tmp_path, monkeypatch) as here:

        async def fetch(self: object, card: ModelCard, context: Context) -> None:
            asked.append(card.name)
            if card.name == "broken":
                raise Unavailable("The hub is away.")

        monkeypatch.setattr(here.adapter, "fetch", fetch)
        await here.registry.add("/models/broken")
        downloads = asyncio.create_task(Loading(here.registry).download())
        late, _ = await here.registry.add("/models/late")
        async with asyncio.timeout(60):
            while not (await here.registry.get(late.id)).fetched:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        downloads.cancel()
        with suppress(asyncio.CancelledError):
            await downloads
        assert sorted(asked) == ["broken", "fake", "late"]
        assert [model.name for model in await here.registry.page() if not model.fetched] == ["broken"]
