"""`cvat check` asks both sides, and the files that put us beside CVAT are sound."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pytest import MonkeyPatch

from bridge.remotes import Access
from bridge.remotes.cvat.addresses import parse_base
from bridge.remotes.cvat.checking import Check
from bridge.store import Store
from tests.servers.cvat import CvatServer, State, images_task
from tests.servers.nuclio import Deployed, Nuclio
from tests.unit.bridge.remotes.cvat_world import LABELS, cvat_world

ROOT = Path(__file__).parents[4]


async def test_each_side_and_what_is_missing_between_them_is_said(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        access = made.made.jobs.remotes.access
        with Nuclio({"rfdetr": Deployed({"car": "rectangle"})}) as face:
            listen = face.url.removeprefix("http://")

            async def states(url: str = made.cvat.url, listen: str = listen) -> list[tuple[str, str]]:
                check = Check(access, listen, "cvat", "", url)
                return [(each.state, f"{each.text} {each.hint}") async for each in check.run()]

            found = await states()
            assert [state for state, _ in found] == ["ok", "ok", "wrong"]
            assert "CVAT_SERVERLESS" in found[-1][1]
            made.cvat.state.functions = ["another"]
            found = await states()
            assert [state for state, _ in found] == ["ok", "ok", "ok", "wrong"]
            assert "not on CVAT's Models page" in found[-1][1]
            made.cvat.state.functions = list(face.functions)
            assert {state for state, _ in await states()} == {"ok"}
            assert [state for state, _ in await states(url="")] == ["ok", "note"]
            assert "connection add cvat" in (await states(url="http://localhost:1"))[-1][1]
            assert "hubbridge serve" in (await states(url="", listen="127.0.0.1:1"))[0][1]
            assert "--cvat" in (await states(url="", listen=""))[0][1]


def test_the_compose_file_tells_server_and_worker_the_same() -> None:
    services = yaml.safe_load((ROOT / "deploy/docker-compose.override.yml").read_text())["services"]
    server, worker = services["cvat_server"], services["cvat_worker_annotation"]
    assert server["environment"] == worker["environment"]
    assert server["environment"]["CVAT_NUCLIO_HOST"] in services
    assert server["volumes"][0].split(":")[1] == server["environment"]["NETRC"]


async def test_a_task_of_another_cvat_at_the_same_number_is_another_task(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        with CvatServer(State(images_task(42, 3, LABELS))) as other:
            monkeypatch.setattr(made.cvat, "port", other.port)
            (task,) = await made.made.jobs.remotes.find_or_add(f"{other.url}/tasks/42")
            assert task.id != made.task.id


@pytest.mark.parametrize(
    "address", ["https://ann:wonderland@cvat.example", "https://127.0.0.1:99999", "http://[::1", "ftp://x", "https://"]
)
async def test_an_address_that_is_none_is_said_so(tmp_path: Path, address: str) -> None:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
    found = [each async for each in Check(Access(store), "", "cvat", "", address).run()]
    await store.close()
    assert "address" in found[-1].text and found[-1].state == "wrong"
    assert "wonderland" not in str(found)


@pytest.mark.parametrize(
    ("pasted", "base"),
    [
        ("cvat.example", "https://cvat.example"),
        ("http://CVAT.example:8080/", "http://cvat.example:8080"),
        ("https://cvat.example/tasks/42/jobs/7", "https://cvat.example"),
    ],
)
def test_a_page_of_cvat_says_where_it_stands(pasted: str, base: str) -> None:
    assert parse_base(pasted) == base
