"""doctor finds each thing that is wrong, says it in words, and mends what is safe to mend."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bridge.app import App, open_app
from bridge.doctor import YOUNG_S, Finding, examine
from bridge.store.checks import INVARIANTS
from bridge.task_labels import parse_labels
from tests.unit.bridge.cli.conftest import write_images
from tests.unit.bridge.test_backup import settings_in
from tests.unit.bridge.test_files import make_zip


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """Task 1 with four uploaded frames, and a job of it that has ended."""
    write_images(tmp_path / "images", 4)
    files = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    async with open_app(settings_in(tmp_path / "one" / "data")) as app:
        task = await app.tasks.create("street", parse_labels("car"))
        await app.tasks.add_frames(task.id, [make_zip(tmp_path / "in.zip", files)])
        async with app.store.write() as connection:
            for statement in (
                "INSERT INTO models (id, name, reference, revision, engine, card, threshold, fetched, created_at) "
                "VALUES (1, 'm', 'r', '1', 'e', '{}', 0.5, 0, 0)",
                "INSERT INTO jobs (id, task_id, model_id, state, spec, resolved, frames_total, frames_done, "
                "frames_failed, shapes_created, abort_requested, fence, created_at) "
                "VALUES (1, 1, 1, 'succeeded', '{}', '{}', 4, 3, 1, 1, 0, 1, 0)",
                *(
                    f"INSERT INTO job_frames (job_id, frame, state, attempts) VALUES (1, {i}, '{state}', 1)"
                    for i, state in enumerate(("done", "done", "done", "failed"))
                ),
                "INSERT INTO results (job_id, frame, format, body) VALUES (1, 0, 1, x'00')",
                "INSERT INTO shapes (id, task_id, frame, label_id, type, points, rotation, source, shape_group) "
                "VALUES (1, 1, 0, 1, 'rectangle', x'00', 0, 'automatic', 0)",
                "UPDATE tasks SET shape_count = 1",
            ):
                await connection.execute(sa.text(statement))
        yield app


async def wrong(app: App, *, fix: bool = False) -> dict[str, Finding]:
    return {each.check: each async for each in examine(app, fix=fix) if not each.well or each.mended}


async def test_what_is_well_is_said_to_be_well(app: App) -> None:
    assert await wrong(app) == {}


DAMAGE = {
    "frames counted": "UPDATE tasks SET frame_count = 9",
    "shapes counted": "UPDATE tasks SET shape_count = 9",
    "ledger complete": "DELETE FROM job_frames WHERE frame = 3",
    "ledger counted": "UPDATE jobs SET frames_done = 1",
    "succeeded means done": "UPDATE job_frames SET state = 'pending' WHERE frame = 1",
    "shapes on frames": "UPDATE shapes SET frame = 77",
    "labels of the task": "UPDATE shapes SET label_id = 2",
    "results of done frames": "UPDATE results SET frame = 77",
    "a job has an owner": "UPDATE jobs SET state = 'running', owner = NULL",
}


@pytest.mark.parametrize("check", DAMAGE)
async def test_each_broken_invariant_is_found_and_mended_where_that_is_safe(app: App, check: str) -> None:
    await app.tasks.create("other", parse_labels("car"))  # its label is number 2
    async with app.store.write() as connection:
        await connection.execute(sa.text(DAMAGE[check]))
    found = await wrong(app)
    assert check in found
    invariant = next(each for each in INVARIANTS if each.name == check)
    assert found[check].can_mend == bool(invariant.mend)
    mended = await wrong(app, fix=True)
    assert mended[check].mended == bool(invariant.mend)
    assert (check in await wrong(app)) == (not invariant.mend)


def test_every_invariant_is_tried() -> None:
    assert DAMAGE.keys() == {each.name for each in INVARIANTS}


async def test_a_frame_whose_file_is_gone_is_named(app: App) -> None:
    frame = (await app.tasks.frames(1))[2]
    Path(frame.path).unlink()
    found = await wrong(app, fix=True)
    assert frame.path in found["frames' files"].message
    assert not found["frames' files"].can_mend


async def test_frames_of_another_tool_have_no_file_here(app: App) -> None:
    async with app.store.write() as connection:
        await connection.execute(sa.text("UPDATE tasks SET remote_kind = 'label-studio'"))
        await connection.execute(sa.text("UPDATE frames SET path = '/data/upload/1/' || name"))
    assert "frames' files" not in await wrong(app)


async def test_old_files_of_nobody_are_removed_and_young_ones_and_frames_stay(app: App) -> None:
    folder = app.settings.storage.folder / "tasks"
    for name in ("77/abc", "1/upload-that-broke", "1/young"):
        (folder / name).mkdir(parents=True)
        (folder / name / "000000.png").write_bytes(b"x")
    for path in [folder / "77", *(folder / "77").rglob("*"), *(folder / "1" / "upload-that-broke").rglob("*")]:
        os.utime(path, (0, 0))
    os.utime(folder / "1" / "upload-that-broke", (0, 0))
    found = await wrong(app)
    assert found["files of nobody"].can_mend
    await wrong(app, fix=True)
    assert {path.name for path in folder.iterdir()} == {"1"}
    assert (folder / "1" / "young").exists()
    assert not (folder / "1" / "upload-that-broke").exists()
    assert await wrong(app) == {}
    assert YOUNG_S >= 600


async def test_a_key_that_is_another_one_is_said(app: App) -> None:
    await app.registry.connect("roboflow", "roboflow.com", "secretOfRoboflow")
    (app.settings.storage.folder / "secret.key").unlink()
    async with open_app(app.settings) as again:
        found = await wrong(again)
    assert "roboflow at roboflow.com" in found["stored tokens"].message
    assert "secretOfRoboflow" not in str(found)


async def test_a_damaged_database_is_named_with_what_to_do(app: App) -> None:
    async with app.store.write() as connection:
        await connection.execute(sa.text("PRAGMA writable_schema = ON"))
        await connection.execute(sa.text("DELETE FROM sqlite_master WHERE name = 'ix_shapes_task_id_frame'"))
    found = await wrong(app)
    assert "hubbridge restore" in found["database"].message


async def test_little_room_is_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.doctor.shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20})())
    assert "make room" in (await wrong(app))["disk"].message


async def test_an_upload_to_another_machine_that_ended_in_the_middle_is_removed_after_a_day(app: App) -> None:
    incoming = app.settings.storage.folder / "incoming"
    old, young = (incoming / f"another-container~7~123~{name}" for name in ("old", "young"))
    for folder, hours in ((old, 25), (young, 2)):
        folder.mkdir(parents=True)
        (folder / "000000.png").write_bytes(b"x")
        for path in (folder / "000000.png", folder):
            os.utime(path, (time.time() - 3600 * hours,) * 2)
    assert str(old) in (await wrong(app))["files of nobody"].message
    await wrong(app, fix=True)
    assert [path.name for path in incoming.iterdir()] == [young.name]
    assert await wrong(app) == {}
