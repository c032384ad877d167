"""A backup put back in place: all of it or nothing, also where the process is killed in the middle.

Everything is unpacked and checked beside the data first. A journal, ``restore.json``, then says that the data are being
replaced; from there on there is only forwards, by renaming alone. Whoever opens the data next finishes what a killed
process began, or throws away what it had only unpacked. A lock, which ends with its process, tells the two cases from
a restore that is under way.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import structlog

from bridge.backup import (
    DATABASE,
    FORMAT,
    MANIFEST,
    TASKS,
    BackupSummary,
    schema_of,
    sqlite_file,
    words_for_a_full_disk,
)
from bridge.errors import Conflict, InvalidRequest, Overloaded
from bridge.live_server import live_server
from bridge.secrets import KEY_FILE
from bridge.settings import Settings
from bridge.store.engine import newest_version

log = structlog.get_logger(__name__)

JOURNAL, _LOCK = "restore.json", ".restore.lock"
_LOGS = ("-wal", "-shm")  # that SQLite keeps beside a database
_WAIT_S = 5.0  # for another program that looks into the database for a moment


@dataclass(frozen=True, slots=True)
class _Journal:
    """``fresh`` and ``aside``: names of folders, beside the data, of what comes and of what goes."""

    fresh: str
    aside: str
    replacing: bool = False


def restore_backup(settings: Settings, source: Path) -> tuple[BackupSummary, Path | None]:
    """Put a backup's data in place; what was there is moved aside, to the folder that is returned. Blocks.

    Frames are found also where the data folder is another one than before. Raises InvalidRequest where the file is
    no backup, is damaged, or was written by a newer version, and Conflict while a server, a job or another command
    uses the data.
    """
    database, folder = sqlite_file(settings), settings.storage.folder
    if (url := live_server(settings)) is not None:
        raise Conflict(f"A server runs on {folder}, at {url}.", hint="Stop it, then restore.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with words_for_a_full_disk(), _locked(folder):
        _go_on(folder, database)
        unique = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        journal = _Journal(name := f".restore-{unique}", f"before-restore-{unique}")
        _write(folder, journal)
        try:
            (folder / name).mkdir(mode=0o700)
            summary = _unpacked(source, folder / name)
            _check_database(folder / name / DATABASE, source)
            _move_paths(folder / name / DATABASE, summary.data_dir, str(folder))
            (folder / name / TASKS).mkdir(exist_ok=True)
            _stand_beside(folder / name / DATABASE, database.parent / name)
            _close_for_others(database)
        except BaseException:
            _throw_away(folder, database, journal)
            raise
        _write(folder, _Journal(journal.fresh, journal.aside, replacing=True))
        _forwards(folder, database, journal)
    return summary, folder / journal.aside if (folder / journal.aside).is_dir() else None


def finish_restore(settings: Settings) -> None:
    """Bring to its end what a restore that was killed began; most often there is nothing to do.

    Raises Conflict while a restore is under way. Blocks.
    """
    folder = settings.storage.folder
    if (folder / JOURNAL).exists():
        database = sqlite_file(settings)
        with words_for_a_full_disk(), _locked(folder):
            _go_on(folder, database)


def _go_on(folder: Path, database: Path) -> None:
    try:
        journal = _Journal(**json.loads((folder / JOURNAL).read_text()))
    except FileNotFoundError:
        return
    if journal.replacing:
        _forwards(folder, database, journal)
        log.warning("a restore that was interrupted is finished", before=str(folder / journal.aside))
    else:
        _throw_away(folder, database, journal)
        log.warning("a restore was interrupted before it changed anything; restore again")


def _forwards(folder: Path, database: Path, journal: _Journal) -> None:
    try:
        _replace(folder, database, journal)
    except OSError as error:
        raise Overloaded(
            f"The restore is half done: {error.filename or folder}: {error.strerror or error}.",
            hint="Mend that; then any command finishes it, such as `hubbridge doctor`. Nothing is lost.",
            code="restore_unfinished",
        ) from error


def _replace(folder: Path, database: Path, journal: _Journal) -> None:
    """The steps of which each may be the last one of a process, and all of which may be taken again."""
    fresh, aside = folder / journal.fresh, folder / journal.aside
    if (new := database.parent / journal.fresh / DATABASE).exists():
        kept = database.parent / journal.aside
        for old in (*(database.with_name(database.name + each) for each in _LOGS), database):
            _move(old, kept / old.name)  # the logs first: no new database may ever stand beside them
        _move(new, database)
    if (fresh / TASKS).exists():
        _keep_copy(folder / KEY_FILE, aside / KEY_FILE)  # it stays unless the backup brings its own
        _move(folder / TASKS, aside / TASKS)
        _move(fresh / TASKS, folder / TASKS)
    _move(fresh / KEY_FILE, folder / KEY_FILE)
    _throw_away(folder, database, journal)


def _move(path: Path, to: Path) -> None:
    if path.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        path.rename(to)
        _to_the_disk(to.parent)
        _to_the_disk(path.parent)


def _keep_copy(path: Path, to: Path) -> None:
    if path.exists() and not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        pending = to.with_name(f".{to.name}")
        shutil.copy2(path, pending)
        pending.rename(to)


def _throw_away(folder: Path, database: Path, journal: _Journal) -> None:
    """What was unpacked, and then the journal."""
    for parent in {folder, database.parent}:
        shutil.rmtree(parent / journal.fresh, ignore_errors=True)
    (folder / JOURNAL).unlink()
    _to_the_disk(folder)


def _write(folder: Path, journal: _Journal) -> None:
    pending = folder / f".{JOURNAL}"
    with pending.open("w") as file:
        json.dump(asdict(journal), file)
        file.flush()
        os.fsync(file.fileno())
    pending.rename(folder / JOURNAL)
    _to_the_disk(folder)


def _to_the_disk(folder: Path) -> None:
    """What was renamed in a folder, before anything after it."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time; the lock ends with its process. Raises Conflict."""
    import fcntl  # noqa: PLC0415  (not on every system)

    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"A backup is being restored into {folder}.", hint="Try again when it is done.") from error
        yield


def _close_for_others(database: Path) -> None:
    """Raises Conflict where another program has the database open: SQLite leaves WAL only where nobody else is."""
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=_WAIT_S)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise Conflict(
                    f"A job or another command uses {database}.", hint="Wait for it or end it, then restore."
                ) from error
        except sqlite3.DatabaseError:
            log.warning("the database that is replaced is damaged", database=str(database))


def _stand_beside(fresh: Path, folder: Path) -> None:
    """The new database on the disk and in the file system of the old one, so that one renaming puts it in place."""
    if folder != fresh.parent:
        folder.mkdir(parents=True)
        shutil.move(fresh, folder / DATABASE)
    with (folder / DATABASE).open("rb") as file:
        os.fsync(file.fileno())


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
        if manifest.pop("format") != FORMAT:
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
    if (schema := schema_of(database)) > newest_version() or not schema:
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
