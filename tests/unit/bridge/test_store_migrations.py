"""The migrations lead to exactly the tables that the code speaks of."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from bridge.domain import Shape
from bridge.errors import BridgeError
from bridge.job_spec import Clean
from bridge.store import Store, checks, engine, undoing
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
from bridge.store.tables import jobs, metadata, models
from bridge.task_labels import labels_from_json


async def test_the_migrated_schema_is_the_metadata(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    await store.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'db'}"
    store = await Store.open(url)
    async with store.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    with pytest.raises(BridgeError, match="newer version"):
        await Store.open(url)


async def test_the_count_of_shapes_follows_what_is_added_retired_and_undone(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    box = Shape("car", "rectangle", (1.0, 1.0, 5.0, 5.0))
    try:
        async with store.write() as connection:
            task = await task_rows.add_task(connection, "t", labels_from_json([{"name": "car"}]))
            ids = {label.name: label.id for label in task.labels}
            model = {"name": "m", "reference": "r", "revision": "1", "engine": "e", "card": "{}", "threshold": 0.5}
            await connection.execute(sa.insert(models).values(id=1, created_at=0.0, **model))
            job = {"task_id": task.id, "model_id": 1, "state": "succeeded", "spec": "{}", "resolved": {}}
            await connection.execute(sa.insert(jobs).values(id=7, frames_total=2, created_at=0.0, **job))

            async def count() -> int:
                live = sa.text("SELECT count(*) FROM shapes WHERE removed_by IS NULL")
                counted = (await task_rows.get_task(connection, task.id)).shape_count
                assert counted == await connection.scalar(live)
                return counted

            await shape_rows.add_shapes(connection, task.id, ids, [(0, [box, box]), (1, [box])])
            assert await count() == 3
            await shape_rows.retire_shapes(connection, task.id, [0], job_id=7, model_id=1, clean=Clean.ALL)
            assert await count() == 1
            await shape_rows.add_shapes(connection, task.id, ids, [(0, [box] * 4)], job_id=7)
            assert await count() == 5
            await undoing.undo_shapes(connection, 7)
            assert await count() == 3
    finally:
        await store.close()


# One row of everything that the first released schema could hold.
FIRST_SCHEMA = (
    "INSERT INTO models VALUES (1, 'm', '/models/m', '1', 'onnxruntime', '{}', 0.5, 1, 1.0)",
    "INSERT INTO connections VALUES (1, 'huggingface', 'huggingface.co', x'00', 1.0)",
    "INSERT INTO tasks VALUES (1, 'street', 2, 2, NULL, NULL, 1.0)",
    "INSERT INTO labels VALUES (1, 1, 0, 'car', 'rectangle', '#ff0000', '[]', '[]')",
    "INSERT INTO frames VALUES (1, 0, 'a.png', '/a.png', 40, 30), (1, 1, 'b.png', '/b.png', 40, 30)",
    'INSERT INTO mappings VALUES (1, 1, 1, 1, \'{"car": "car"}\', 1.0)',
    "INSERT INTO learned_pairs VALUES ('auto', 'car', 1, 1, 1.0)",
    "INSERT INTO jobs VALUES (1, 1, 1, NULL, 'succeeded', '{\"target\": 1, \"model_id\": 1}', '{}', 2, 1, 1, 1, NULL,"
    " 0, NULL, NULL, 1, 1.0, 1.0, 2.0, NULL)",
    "INSERT INTO job_frames VALUES (1, 0, 'done', 1, NULL, NULL),"
    " (1, 1, 'failed', 2, 'bad_frame', 'b.png is damaged.')",
    "INSERT INTO results VALUES (1, 0, 1, x'0102')",
    "INSERT INTO shapes VALUES (1, 1, 0, 1, 'rectangle', zeroblob(32), NULL, 0, 0.9, 'automatic', NULL, 0, 1, NULL),"
    " (2, 1, 1, 1, 'mask', zeroblob(0), x'01', 0, NULL, 'manual', NULL, 3, NULL, NULL)",
    "INSERT INTO idempotency_keys VALUES ('createTask', 'k', 'h', 201, '{}', 'host/1/2', 1.0)",
)
RELEASED = sorted(path.name[:4] for path in (Path(engine.__file__).parent / "migrations/versions").glob("[0-9]*.py"))


def _database_of(path: Path, version: str) -> None:
    """A database with data as the first version left it, brought to ``version``."""
    sync = sa.create_engine(f"sqlite:///{path}")
    with sync.begin() as connection:
        for target in dict.fromkeys(("0001", version)):
            config = Config()
            config.set_main_option("script_location", str(Path(engine.__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, target)
            if target == "0001":
                for statement in FIRST_SCHEMA:
                    connection.execute(sa.text(statement))
    sync.dispose()


@pytest.mark.parametrize("version", RELEASED)
async def test_data_of_every_released_schema_is_all_there_after_the_migration(tmp_path: Path, version: str) -> None:
    _database_of(tmp_path / "db", version)
    before = _rows(tmp_path / "db")
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    try:
        after = _rows(tmp_path / "db")
        for table, rows in before.items():
            pairs = zip(after[table], rows, strict=True)
            kept = [{name: row[name] for name in old if name in row} for row, old in pairs]
            assert kept == rows, table
        assert len(before) >= len(FIRST_SCHEMA)
        async with store.read() as connection:
            assert await checks.integrity(connection) == []
            for invariant in checks.INVARIANTS:
                assert await checks.broken(connection, invariant) == [], invariant.name
            found = await shape_rows.get_shapes(connection, 1, [0, 1])
            assert [shape.label for shapes in found.values() for shape in shapes] == ["car", "car"]
    finally:
        await store.close()


def _rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table that has rows, in the order of their first columns."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
        for name in names
        if name != "alembic_version"
    }
    connection.close()
    return {name: rows for name, rows in found.items() if rows}
