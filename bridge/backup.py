"""All of an installation's data as one file, taken while it runs, and put back in place.

The database is copied by SQLite's online backup, so that it is of one moment. The frames' files are added after it:
each that it names was there before. The key of stored tokens is left out unless it is asked for: who has both can read
them.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from bridge.errors import BridgeError, Conflict, InvalidRequest, Overloaded
from bridge.live_server import live_server
from bridge.secrets import KEY_FILE
from bridge.settings import Settings
from bridge.store.engine import newest_version

MANIFEST, DATABASE, TASKS = "backup.json", "hubbridge.db", "tasks"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a backup holds.

    missing     files that went away while it was taken, with their tasks
    elsewhere   frames whose files lie outside of the data folder, and so are not in it
    """

    created_at: float
    version: str
    schema: str
    data_dir: str
    files: int
    bytes: int
    key: bool
    missing: int = 0
    elsewhere: int = 0


def write_backup(settings: Settings, target: Path, *, with_key: bool = False) -> BackupSummary:
    """Write a tar file, which appears whole or not at all and which nobody else may read. Blocks.

    Raises InvalidRequest (another database than SQLite), Conflict (the file is there), NotFound and Overloaded.
    """
    database, folder = _sqlite_file(settings), settings.storage.folder
    if not database.is_file():
        raise InvalidRequest(f"There is no database at {database}.", hint="Check --data-dir and [storage].")
    if target.exists():
        raise Conflict(f"{target} exists already.", hint="Choose another name, such as one with the date.")
    with _words_for_a_full_disk(), tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as made:
        copy, pending = Path(made) / DATABASE, Path(made) / "backup.tar"
        _copy_database(database, copy)
        files = size = missing = 0
        with tarfile.open(pending, "w") as out:
            os.chmod(pending, 0o600)  # noqa: PTH101
            out.add(copy, DATABASE)
            for path in _files_below(folder / TASKS):
                try:
                    out.add(path, f"{TASKS}/{path.relative_to(folder / TASKS).as_posix()}", recursive=False)
                    files, size = files + 1, size + path.stat().st_size
                except FileNotFoundError:
                    missing += 1
            has_key = with_key and (folder / KEY_FILE).is_file()
            if has_key:
                out.add(folder / KEY_FILE, KEY_FILE)
            summary = BackupSummary(
                time.time(),
                version("hubbridge"),
                _schema_of(copy),
                str(folder),
                files,
                size,
                has_key,
                missing,
                _frames_elsewhere(copy, folder),
            )
            manifest = Path(made) / MANIFEST
            manifest.write_text(json.dumps({"format": _FORMAT, **asdict(summary)}))
            out.add(manifest, MANIFEST)
        with pending.open("rb") as written:
            os.fsync(written.fileno())
        pending.replace(target)
    return summary


def restore_backup(settings: Settings, source: Path) -> tuple[BackupSummary, Path | None]:
    """Put a backup's data in place; what was there is moved aside, to the folder that is returned. Blocks.

    Frames are found also where the data folder is another one than before. Raises InvalidRequest where the file is
    no backup, is damaged, or was written by a newer version, and Conflict while a server runs on the folder.
    """
    database, folder = _sqlite_file(settings), settings.storage.folder
    if (url := live_server(settings)) is not None:
        raise Conflict(f"A server runs on {folder}, at {url}.", hint="Stop it, then restore.")
    folder.mkdir(parents=True, exist_ok=True)
    with _words_for_a_full_disk(), tempfile.TemporaryDirectory(dir=folder, prefix=".restore-") as made:
        fresh = Path(made)
        summary = _unpacked(source, fresh)
        _check_database(fresh / DATABASE, source)
        _move_paths(fresh / DATABASE, summary.data_dir, str(folder))
        aside = _move_aside(folder, database)
        database.parent.mkdir(parents=True, exist_ok=True)
        (fresh / DATABASE).replace(database)
        if (fresh / TASKS).is_dir():
            (fresh / TASKS).replace(folder / TASKS)
        if (fresh / KEY_FILE).is_file():
            (fresh / KEY_FILE).chmod(0o600)
            (fresh / KEY_FILE).replace(folder / KEY_FILE)
    return summary, aside


def _sqlite_file(settings: Settings) -> Path:
    url = sa.make_url(settings.storage.sqlalchemy_url)
    if not url.drivername.startswith("sqlite") or not url.database:
        raise InvalidRequest(
            "Only an SQLite database is part of a backup.",
            hint="Save PostgreSQL with pg_dump, and the data folder's tasks/ and secret.key with it.",
        )
    return Path(url.database)


def _copy_database(database: Path, copy: Path) -> None:
    """A copy of one moment, while others write."""
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=15)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _schema_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        try:
            found: tuple[str] | None = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:
            found = None
    return found[0] if found else ""


def _frames_elsewhere(database: Path, folder: Path) -> int:
    start = f"{folder}{os.sep}"
    with closing(sqlite3.connect(database)) as connection:
        query = (
            "SELECT count(*) FROM frames JOIN tasks ON tasks.id = task_id "
            "WHERE path <> '' AND remote_kind IS NULL AND substr(path, 1, ?) <> ?"
        )
        (count,) = connection.execute(query, (len(start), start)).fetchone()
    return int(count)


def _files_below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(where) / name).is_file() and not path.is_symlink())


def _unpacked(source: Path, into: Path) -> BackupSummary:
    """The files of a backup, none of which can come to lie elsewhere. Raises InvalidRequest."""
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                known = member.name in (MANIFEST, DATABASE, KEY_FILE) or (parts[:1] == (TASKS,) and ".." not in parts)
                if not member.isfile() or not known:
                    raise _no_backup(source)
                archive.extract(member, into, filter="data")
        manifest = json.loads((into / MANIFEST).read_text())
        if manifest.pop("format") != _FORMAT:
            raise InvalidRequest(
                f"{source} was written by another version of Hubbridge.", hint="Restore it with that version."
            )
        return BackupSummary(**manifest)
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError, FileNotFoundError) as error:
        raise _no_backup(source) from error


def _no_backup(source: Path) -> InvalidRequest:
    return InvalidRequest(f"{source} is no whole backup.", hint="Give a file that `hubbridge backup` wrote.")


def _check_database(database: Path, source: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        try:
            (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise _no_backup(source) from error
    if result != "ok":
        raise _no_backup(source)
    if (schema := _schema_of(database)) > newest_version() or not schema:
        raise InvalidRequest(
            f"{source} was written by a newer version of Hubbridge.",
            hint="Restore it with that version.",
        )


def _move_paths(database: Path, before: str, now: str) -> None:
    """Frames' files lie below the data folder, which may be another one now."""
    if before == now:
        return
    with closing(sqlite3.connect(database)) as connection, connection:
        start = f"{before}{os.sep}{TASKS}{os.sep}"
        connection.execute(
            "UPDATE frames SET path = ? || substr(path, ?) WHERE substr(path, 1, ?) = ?",
            (f"{now}{os.sep}{TASKS}{os.sep}", len(start) + 1, len(start), start),
        )


def _move_aside(folder: Path, database: Path) -> Path | None:
    """What a restore replaces; None where there was nothing."""
    logs = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm")]
    old = [path for path in (database, *logs, folder / TASKS, folder / KEY_FILE) if path.exists()]
    if not old:
        return None
    aside = folder / f"before-restore-{time.strftime('%Y%m%d-%H%M%S')}"
    aside.mkdir()
    for path in old:
        if path.name == KEY_FILE:
            shutil.copy2(path, aside / path.name)  # it stays unless the backup brings its own
        else:
            shutil.move(path, aside / path.name)
    return aside


@contextmanager
def _words_for_a_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, BridgeError) or error.errno != 28:  # ENOSPC
            raise InvalidRequest(
                f"{error.filename or 'The file'} cannot be used: {error.strerror or error}.", hint="Check the path."
            ) from error
        raise Overloaded("The disk is full.", hint="Make room; nothing was changed.", code="disk_full") from error
    except sqlite3.DatabaseError as error:
        raise InvalidRequest(
            f"The database cannot be copied: {error}.", hint="`hubbridge doctor` says what is wrong with it."
        ) from error
