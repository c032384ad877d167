"""The migrations lead to exactly the tables that the code speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bridge.domain import Clean, Shape
from bridge.errors import BridgeError
from bridge.store import Store, undoing
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


async def test_the_count_of_shapes_follows_what_is_added_retired_undone_and_removed(tmp_path: Path) -> None:
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
            await shape_rows.remove_shapes(connection, task.id, [1])
            assert await count() == 2
            await shape_rows.remove_shapes(connection, task.id)
            assert await count() == 0
    finally:
        await store.close()
