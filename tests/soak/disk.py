"""What a server keeps on the disk: rows and size of its database, files, what is left over, lines of its log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kept:
    """``rows``: of each table. ``files``: of tasks, in the data folder. ``leftovers``: uploads that did not become
    frames, and temporary files. ``database_mb``: with its write-ahead log."""

    rows: dict[str, int]
    database_mb: float
    files: int
    leftovers: int
    log_lines: int


def kept_in(data: Path, temporary: Path, log: Path) -> Kept:
    """Of a server that may be at work."""
    (database,) = data.glob("*.db")
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    size = sum(path.stat().st_size for path in data.glob(f"{database.name}*"))
    return Kept(
        rows=rows,
        database_mb=size / 2**20,
        files=_count(data / "tasks"),
        leftovers=_count(data / "incoming") + _count(temporary),
        log_lines=log.read_bytes().count(b"\n"),
    )


def _count(folder: Path) -> int:
    """Of files and folders, at any depth."""
    return sum(1 for _ in folder.rglob("*"))
