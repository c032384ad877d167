"""A restore that is killed at any of its steps leaves the old data or the new ones, whole, and says which."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.app import open_app
from bridge.backup import write_backup
from bridge.doctor import examine
from bridge.errors import BridgeError, Conflict
from bridge.restore import JOURNAL, finish_restore, restore_backup
from bridge.settings import Settings, load_settings
from bridge.task_labels import parse_labels
from tests.unit.bridge.cli.conftest import write_images
from tests.unit.bridge.test_backup import settings_in
from tests.unit.bridge.test_files import make_zip

# Kills itself before the nth change that it would make to the file system.
KILLED = """
import os, sys
from pathlib import Path
from bridge.restore import restore_backup
from bridge.settings import load_settings
from bridge import restore
left = int(sys.argv[4])
def count(event, arguments):
    global left
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.move"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
settings = load_settings(Path(sys.argv[1]), storage={"data_dir": sys.argv[2], "database_url": sys.argv[5]})
sys.addaudithook(count)
restore_backup(settings, Path(sys.argv[3]))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A data folder with a task "old" of 2 frames, and a backup of a task "new" of 3 frames."""

    settings: Settings
    backup: Path

    def killed_at(self, step: int) -> bool:
        """Whether the restore was killed before its ``step``-th change."""
        storage = self.settings.storage
        config = storage.folder.parent / "config.toml"
        arguments = (config, storage.folder, self.backup, step, storage.database_url)
        run = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, check=False)
        assert run.returncode in (0, -9), run.stderr.decode()
        return run.returncode == -9

    async def name(self) -> str:
        """What the task is called; its frames' files are all there, and doctor finds nothing wrong."""
        async with open_app(self.settings) as app:
            task = await app.tasks.get(1)
            frames = await app.tasks.frames(task.id)
            assert len(frames) == task.frame_count == {"old": 2, "new": 3}[task.name]
            assert all(Path(frame.path).is_file() for frame in frames)
            wrong = [each.check async for each in examine(app) if not each.well and each.check != "disk"]
            assert wrong == []
            return task.name


async def fill(settings: Settings, name: str, frames: int) -> None:
    folder = settings.storage.folder.parent
    write_images(folder / "images", frames)
    files = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    async with open_app(settings) as app:
        task = await app.tasks.create(name, parse_labels("car"))
        await app.tasks.add_frames(task.id, [make_zip(folder / "in.zip", files)])
        await app.registry.connect("huggingface", "huggingface.co", f"hf_{name}")


@pytest.fixture(params=["the data folder", "elsewhere"])
async def place(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    source, target = settings_in(tmp_path / "one" / "data"), settings_in(tmp_path / "two" / "data")
    if request.param == "elsewhere":
        (tmp_path / "db").mkdir()
        storage = {"data_dir": str(target.storage.folder), "database_url": f"sqlite:///{tmp_path / 'db' / 'h.db'}"}
        target = load_settings(tmp_path / "two" / "config.toml", storage=storage)
    await fill(source, "new", 3)
    await fill(target, "old", 2)
    backup = tmp_path / "saved.tar"
    await asyncio.to_thread(write_backup, source, backup, with_key=True)
    yield Place(target, backup)


def left_over(place: Place) -> list[Path]:
    storage = place.settings.storage
    return [*storage.folder.glob(".restore-*"), *storage.folder.glob(JOURNAL)]


async def test_killed_at_every_step(place: Place) -> None:
    names, step = [], 0
    while await asyncio.to_thread(place.killed_at, step):
        names.append(await place.name())
        assert left_over(place) == []
        if names[-1] == "new":  # begin again from the old data
            await asyncio.to_thread(put_old_back, place)
            assert await place.name() == "old"
        step += 1
    assert await place.name() == "new"
    assert names == sorted(names, reverse=True)  # first all that change nothing, then all that are finished
    assert names.count("old") > 5
    assert names.count("new") > 5


def put_old_back(place: Place) -> None:
    """What an administrator does with the folder that the old data were moved to."""
    storage = place.settings.storage
    database = Path(storage.sqlalchemy_url.partition("///")[2])
    (aside,) = storage.folder.glob("before-restore-*")
    kept = database.parent / aside.name
    for path in (storage.folder / "tasks", storage.folder / "secret.key"):
        path.rename(aside / f"new {path.name}")
        (aside / path.name).rename(path)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    (kept / database.name).replace(database)
    aside.rename(storage.folder / f"looked at {len(list(storage.folder.glob('looked*')))}")
    if kept.exists():
        kept.rmdir()


async def test_a_second_restore_finishes_the_first_before_it_begins(place: Place) -> None:
    journal, step = place.settings.storage.folder / JOURNAL, 18
    while not (journal.exists() and '"replacing": true' in journal.read_text()):
        await place.name()
        assert await asyncio.to_thread(place.killed_at, step)
        step += 1
    await asyncio.to_thread(restore_backup, place.settings, place.backup)
    assert await place.name() == "new"
    assert left_over(place) == []
    assert len(list(place.settings.storage.folder.glob("before-restore-*"))) == 2


async def test_nothing_opens_the_data_while_a_restore_is_under_way(place: Place) -> None:
    folder = place.settings.storage.folder
    (folder / JOURNAL).write_text("{}")
    with (folder / ".restore.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="is being restored"):
            async with open_app(place.settings):
                pass
        with pytest.raises(Conflict, match="is being restored"):
            restore_backup(place.settings, place.backup)
    (folder / JOURNAL).unlink()
    finish_restore(place.settings)
    assert await place.name() == "old"


async def test_a_database_that_somebody_uses_is_not_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.restore._WAIT_S", 0.2)
    async with open_app(place.settings) as app:  # as a job in the foreground has it: no server is announced
        await app.tasks.get(1)
        with pytest.raises(Conflict, match="another command uses"):
            await asyncio.to_thread(restore_backup, place.settings, place.backup)
    assert await place.name() == "old"
    assert left_over(place) == []


async def test_a_restore_that_cannot_go_on_says_how_it_is_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "tasks":
            raise OSError(28, "No space left on device", str(target))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(BridgeError, match="half done") as refused:
            await asyncio.to_thread(restore_backup, place.settings, place.backup)
    assert "hubbridge doctor" in refused.value.hint
    assert await place.name() == "new"
