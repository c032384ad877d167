"""All of an installation's data as one file, taken while it runs. `restore` puts it back in place.

The database is copied by SQLite's online backup, so that it is of one moment. The frames' files are added after it:
each that it names was there before. The key of stored tokens is left out unless it is asked for: who has both can read
them.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from bridge.errors import Conflict, InvalidRequest, Overloaded
from bridge.secrets import KEY_FILE
from bridge.settings import Settings

MANIFEST, DATABASE, TASKS = "backup.json", "hubbridge.db", "tasks"
FORMAT = 1


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

    Raises InvalidRequest (another database than SQLite, or none), Conflict (the file is there) and Overloaded.
    """
    database, folder = sqlite_file(settings), settings.storage.folder
    if not database.is_file():
        raise InvalidRequest(f"There is no database at {database}.", hint="Check --data-dir and [storage].")
    if target.exists():
        raise Conflict(f"{target} exists already.", hint="Choose another name, such as one with the date.")
    with words_for_a_full_disk(), tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as made:
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
                schema_of(copy),
                str(folder),
                files,
                size,
                has_key,
                missing,
                _frames_elsewhere(copy, folder),
            )
            manifest = Path(made) / MANIFEST
            manifest.write_text(json.dumps({"format": FORMAT, **asdict(summary)}))
            out.add(manifest, MANIFEST)
        with pending.open("rb") as written:
            os.fsync(written.fileno())
        pending.replace(target)
    return summary


def sqlite_file(settings: Settings) -> Path:
    """Where the database is. Raises InvalidRequest where it is another one than SQLite."""
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


def schema_of(database: Path) -> str:
    """The version of its tables; empty where there is none."""
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


@contextmanager
def words_for_a_full_disk() -> Iterator[None]:
    """What the system says of a file, the disk or the database, in our words."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise InvalidRequest(
                f"{error.filename or 'The file'} cannot be used: {error.strerror or error}.", hint="Check the path."
            ) from error
        raise Overloaded("The disk is full.", hint="Make room; nothing was changed.", code="disk_full") from error
    except sqlite3.DatabaseError as error:
        raise InvalidRequest(
            f"The database cannot be copied: {error}.", hint="`hubbridge doctor` says what is wrong with it."
        ) from error
