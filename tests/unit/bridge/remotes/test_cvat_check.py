"""`cvat check` asks both sides, and the files that put us beside CVAT are sound."""

from __future__ import annotations

from pathlib import Path

import yaml
from pytest import MonkeyPatch

from bridge.remotes.cvat.checking import Check
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
