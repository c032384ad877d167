"""Backups taken while others write, put back elsewhere, and everything that is no backup."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.app import App, open_app
from bridge.backup import DATABASE, MANIFEST, write_backup
from bridge.doctor import examine
from bridge.domain import Scope
from bridge.errors import BridgeError, Conflict, InvalidRequest
from bridge.live_server import announce_server
from bridge.restore import restore_backup
from bridge.settings import Settings, load_settings
from bridge.store import tasks as task_rows
from bridge.task_labels import parse_labels
from tests.unit.bridge.cli.conftest import write_images
from tests.unit.bridge.test_files import make_zip

SECRET = "hf_c4n4ryOfTheBackup"


def settings_in(folder: Path) -> Settings:
    folder.parent.mkdir(parents=True, exist_ok=True)
    (folder.parent / "config.toml").touch()
    return load_settings(folder.parent / "config.toml", storage={"data_dir": str(folder)})


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A task whose three frames were uploaded in a zip, a stored token and an API token."""
    write_images(tmp_path / "images", 3)
    files = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    async with open_app(settings_in(tmp_path / "one" / "data")) as app:
        task = await app.tasks.create("street", parse_labels("car"))
        await app.tasks.add_frames(task.id, [make_zip(tmp_path / "in.zip", files)])
        await app.registry.connect("huggingface", "huggingface.co", SECRET)
        await app.tokens.create("ci", Scope.READ)
        yield app


async def whole(settings: Settings) -> list[str]:
    """Names of what doctor finds wrong, and the frames as the service reads them."""
    async with open_app(settings) as app:
        wrong = [each.check async for each in examine(app) if not each.well and each.check != "disk"]
        for frame in await app.tasks.frames(1):
            assert Path(frame.path).is_relative_to(settings.storage.folder)
            assert Path(frame.path).is_file()
        assert (await app.tasks.get(1)).frame_count == 3
        assert len(await app.tokens.list()) == 1
        return wrong


async def test_a_backup_is_put_back_in_another_folder_and_everything_is_well(app: App, tmp_path: Path) -> None:
    target = tmp_path / "saved.tar"
    summary = await asyncio.to_thread(write_backup, app.settings, target, with_key=True)
    assert (summary.files, summary.key, summary.missing, summary.elsewhere) == (3, True, 0, 0)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    elsewhere = settings_in(tmp_path / "two" / "data")
    restored, aside = await asyncio.to_thread(restore_backup, elsewhere, target)
    assert restored == summary
    assert aside is None
    assert await whole(elsewhere) == []
    async with open_app(elsewhere) as other:
        assert await other.registry.secret("huggingface", "huggingface.co") == SECRET


async def test_without_its_key_a_backup_holds_no_secret_that_can_be_read(app: App, tmp_path: Path) -> None:
    target = tmp_path / "saved.tar"
    assert not (await asyncio.to_thread(write_backup, app.settings, target)).key
    assert SECRET.encode() not in target.read_bytes()
    key = (app.settings.storage.folder / "secret.key").read_bytes().strip()
    assert key not in target.read_bytes()
    elsewhere = settings_in(tmp_path / "two" / "data")
    await asyncio.to_thread(restore_backup, elsewhere, target)
    assert await whole(elsewhere) == ["stored tokens"]


async def test_a_backup_of_one_moment_is_taken_while_others_write(app: App, tmp_path: Path) -> None:
    labels = parse_labels("car")
    going = True

    async def write() -> int:
        count = 0
        while going:
            async with app.store.write() as connection:  # two rows that belong together
                await task_rows.add_task(connection, f"left {count}", labels)
                await task_rows.add_task(connection, f"right {count}", labels)
            count += 1
        return count

    writer = asyncio.create_task(write())
    for number in range(3):
        await asyncio.to_thread(write_backup, app.settings, tmp_path / f"{number}.tar")
    going = False
    assert await writer > 0
    for number in range(3):
        with tarfile.open(tmp_path / f"{number}.tar") as archive:
            archive.extract(DATABASE, tmp_path / str(number), filter="data")
        found = sqlite3.connect(tmp_path / str(number) / DATABASE)
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        left, right = (
            found.execute("SELECT count(*) FROM tasks WHERE name LIKE ?", (f"{side} %",)).fetchone()
            for side in ("left", "right")
        )
        assert left == right
        found.close()


async def test_what_is_replaced_is_moved_aside_and_a_running_server_is_not_touched(app: App, tmp_path: Path) -> None:
    target = tmp_path / "saved.tar"
    await asyncio.to_thread(write_backup, app.settings, target)
    elsewhere = settings_in(tmp_path / "two" / "data")
    async with open_app(elsewhere) as other:
        await other.tasks.create("old", parse_labels("car"))
    announce_server(elsewhere, "http://127.0.0.1:1")
    with pytest.raises(Conflict, match="A server runs"):
        await asyncio.to_thread(restore_backup, elsewhere, target)
    (elsewhere.storage.folder / "server.json").unlink()
    _, aside = await asyncio.to_thread(restore_backup, elsewhere, target)
    assert aside is not None
    assert (aside / DATABASE).is_file()
    assert await whole(elsewhere) == ["stored tokens"]


async def test_a_file_that_is_there_is_not_overwritten(app: App, tmp_path: Path) -> None:
    (tmp_path / "saved.tar").write_text("mine")
    with pytest.raises(Conflict):
        write_backup(app.settings, tmp_path / "saved.tar")
    assert (tmp_path / "saved.tar").read_text() == "mine"


def test_without_a_database_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no database"):
        write_backup(settings_in(tmp_path / "none" / "data"), tmp_path / "saved.tar")
    settings = load_settings(storage={"database_url": "postgresql://somewhere/x"})
    with pytest.raises(InvalidRequest, match="SQLite"):
        write_backup(settings, tmp_path / "saved.tar")
    assert not (tmp_path / "saved.tar").exists()


async def tampered(app: App, tmp_path: Path, kind: str) -> Path:
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    await asyncio.to_thread(write_backup, app.settings, good)
    with tarfile.open(good) as source, tarfile.open(bad, "w") as out:
        for member in source:
            data = source.extractfile(member)
            assert data is not None
            content = data.read()
            if kind == "newer" and member.name == DATABASE:
                (tmp_path / "newer").write_bytes(content)
                newer = sqlite3.connect(tmp_path / "newer")
                newer.execute("UPDATE alembic_version SET version_num = '9999'")
                newer.commit()
                newer.close()
                content = (tmp_path / "newer").read_bytes()
            if kind == "broken" and member.name == DATABASE:
                content = content[:5000] + b"\xff" * 4000 + content[9000:]
            if kind == "format" and member.name == MANIFEST:
                content = json.dumps({**json.loads(content), "format": 99}).encode()
            if kind == "without manifest" and member.name == MANIFEST:
                continue
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
        extra = tarfile.TarInfo(
            {"slip": "../../evil", "absolute": "/tmp/evil", "slip in tasks": "tasks/../../x"}.get(kind, "")
        )
        if extra.name:
            extra.size = 1
            out.addfile(extra, io.BytesIO(b"x"))
        if kind == "link":
            extra.name, extra.type, extra.linkname = "tasks/1/link", tarfile.SYMTYPE, "/etc/passwd"
            out.addfile(extra)
    if kind == "cut":
        bad.write_bytes(good.read_bytes()[:20_000])
    return bad


@pytest.mark.parametrize(
    "kind",
    ["newer", "broken", "format", "without manifest", "slip", "absolute", "slip in tasks", "link", "cut"],
)
async def test_what_is_no_whole_backup_changes_nothing(app: App, tmp_path: Path, kind: str) -> None:
    bad = await tampered(app, tmp_path, kind)
    elsewhere = settings_in(tmp_path / "two" / "data")
    async with open_app(elsewhere) as other:
        await other.tasks.create("old", parse_labels("car"))
    with pytest.raises(BridgeError) as refused:
        await asyncio.to_thread(restore_backup, elsewhere, bad)
    assert refused.value.hint
    async with open_app(elsewhere) as other:
        assert (await other.tasks.find("old")).name == "old"
    assert not list(tmp_path.rglob("evil"))
    assert not list(elsewhere.storage.folder.glob(".restore-*"))
