"""Whether an installation is well: the database, the ledger, files, keys and room; what is safe to mend is mended."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.app import App
from bridge.errors import BridgeError
from bridge.secrets import SecretsError
from bridge.store import checks
from bridge.store import models as model_rows

LOW_ROOM = 2 * 2**30  # bytes
YOUNG_S = 3600.0  # files as young as this may be of an upload that is under way
ABANDONED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``mended``: it was wrong and is right now. ``can_mend``: --fix would."""

    check: str
    well: bool
    message: str
    can_mend: bool = False
    mended: bool = False


async def examine(app: App, *, fix: bool = False) -> AsyncIterator[Finding]:
    """Every check, one after the other; what it finds is in words."""
    yield await _database(app)
    for invariant in checks.INVARIANTS:
        yield await _invariant(app, invariant, fix)
    yield await _missing_files(app)
    yield await _left_over(app, fix)
    yield await _secrets(app)
    yield await asyncio.to_thread(_room, app)


async def _database(app: App) -> Finding:
    async with app.store.read() as connection:
        problems = await checks.integrity(connection)
    if problems:
        text = f"{'; '.join(problems[:3])}. Restore a backup: hubbridge restore FILE"
        return Finding("database", well=False, message=text)
    return Finding("database", well=True, message="whole")


async def _invariant(app: App, invariant: checks.Invariant, fix: bool) -> Finding:
    async with app.store.read() as connection:
        places = await checks.broken(connection, invariant)
    if not places:
        return Finding(invariant.name, well=True, message="holds")
    named = ", ".join(str(place) for place in places[:5]) + (" ..." if len(places) > 5 else "")
    message = f"{len(places)} {invariant.says}: {named}"
    if fix and invariant.mend:
        async with app.store.write() as connection:
            await checks.mend(connection, invariant)
        return Finding(invariant.name, well=True, message=message, mended=True)
    return Finding(invariant.name, well=False, message=message, can_mend=bool(invariant.mend))


async def _missing_files(app: App) -> Finding:
    async with app.store.read() as connection:
        paths = await checks.frame_paths(connection)
    missing = await asyncio.to_thread(lambda: [(task, path) for task, path in paths if not Path(path).is_file()])
    if not missing:
        return Finding("frames' files", well=True, message=f"all {len(paths)} are there")
    tasks = sorted({task for task, _ in missing})
    text = f"{len(missing)} of {len(paths)} are gone, in the tasks {tasks[:5]}; the first is {missing[0][1]}"
    return Finding("frames' files", well=False, message=text)


async def _left_over(app: App, fix: bool) -> Finding:
    """Files of tasks that were removed, or of uploads that ended in the middle."""
    async with app.store.read() as connection:
        known, paths = await checks.task_ids(connection), await checks.frame_paths(connection)
    folder = app.settings.storage.folder / "tasks"
    found = await asyncio.to_thread(_orphans, folder, known, [Path(path) for _, path in paths])
    found += await asyncio.to_thread(_abandoned, folder.with_name("incoming"))
    if not found:
        return Finding("files of nobody", well=True, message="none")
    size = await asyncio.to_thread(lambda: sum(_size(path) for path in found))
    message = f"{len(found)} folders with {size / 2**20:.1f} MB belong to no frame: {found[0]}"
    if fix:
        for path in found:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        return Finding("files of nobody", well=True, message=message, mended=True)
    return Finding("files of nobody", well=False, message=message, can_mend=True)


def _orphans(folder: Path, known: set[int], used: Sequence[Path]) -> list[Path]:
    """Folders ``TASK/UPLOAD`` in which no frame's file lies and that are no upload under way."""
    parents = {parent for path in used for parent in path.parents}
    found = []
    for task in _folders(folder):
        uploads = [task] if task.name.isdecimal() and int(task.name) not in known else list(_folders(task))
        found += [each for each in uploads if each not in parents and time.time() - _youngest(each) > YOUNG_S]
    return found


def _abandoned(incoming: Path) -> list[Path]:
    """What is left of uploads. A start removes those of this machine; whether another one's container still lives,
    nobody here can say, but no upload pauses for a day."""
    return [each for each in _folders(incoming) if time.time() - _youngest(each) > ABANDONED_S]


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _youngest(folder: Path) -> float:
    """When something in the folder was written last; now, where somebody is just taking it away."""
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # taken away meanwhile
            size += path.lstat().st_size
    return size


async def _secrets(app: App) -> Finding:
    async with app.store.read() as connection:
        stored = await model_rows.encrypted_secrets(connection)
        tokens = {f"{kind} at {host or 'no host'}": token for (kind, host), token in stored.items()}
        tokens |= await model_rows.project_tokens(connection)
    wrong = []
    for whose, token in tokens.items():
        try:
            await asyncio.to_thread(app.registry.secrets.decrypt, token)
        except (SecretsError, BridgeError) as error:
            wrong.append(f"{whose}: {error.message}")
    if wrong:
        return Finding("stored tokens", well=False, message=f"{len(wrong)} cannot be read; {wrong[0]}")
    return Finding("stored tokens", well=True, message=f"all {len(tokens)} can be read" if tokens else "none")


def _room(app: App) -> Finding:
    free = shutil.disk_usage(app.settings.storage.folder).free
    text = f"{free / 2**30:.1f} GB free"
    return Finding("disk", well=free >= LOW_ROOM, message=text if free >= LOW_ROOM else f"{text}; make room soon")
