"""Opening, migrating, reading and writing the database, also from several tasks and processes at once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from bridge.domain import TaskLabel
from bridge.errors import BridgeError, Overloaded
from bridge.store import Store, engine, learned
from bridge.store import tasks as task_rows
from bridge.store.tables import idempotency_keys
from bridge.task_labels import parse_labels

LABELS = parse_labels("car")


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'data' / 'hubbridge.db'}"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(url(tmp_path))
    yield opened
    await opened.close()


async def names(store: Store) -> list[str]:
    async with store.read() as connection:
        return [task.name for task in await task_rows.list_tasks(connection)]


async def test_a_fresh_database_gets_its_folder_and_its_tables(tmp_path: Path) -> None:
    store = await Store.open(url(tmp_path))
    assert await names(store) == []
    await store.close()


async def test_opening_again_migrates_nothing_and_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(url(tmp_path))
    async with store.write() as connection:
        await task_rows.add_task(connection, "street", LABELS)
    await store.close()
    monkeypatch.setattr(engine, "_upgrade", lambda connection: pytest.fail("there was nothing to migrate"))
    again = await Store.open(url(tmp_path))
    assert await names(again) == ["street"]
    await again.close()


async def test_opening_a_migrated_database_does_not_wait_for_a_writer(store: Store, tmp_path: Path) -> None:
    async with store.write() as connection:
        await task_rows.add_task(connection, "street", LABELS)
        async with asyncio.timeout(60):
            second = await Store.open(url(tmp_path))
        assert await names(second) == []
        await second.close()


def test_processes_that_start_at_once_on_a_fresh_folder_all_open_the_database(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from bridge.store import Store\n"
        "async def main():\n"
        "    store = await Store.open(sys.argv[1])\n"
        "    await store.close()\n"
        "sys.stdin.readline()\n"
        "asyncio.run(main())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, url(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0, 0], [text for text, _ in ended]


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite+aiosqlite:///{folder}/file/below/hubbridge.db",
        "sqlite+aiosqlite:///{folder}/file",
        "sqlite+aiosqlite:///{folder}",
        "no url with s3cret",
        "nosuch://user:s3cret@host/db",
    ],
)
async def test_a_database_that_cannot_be_opened_is_said_in_one_sentence(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "file").write_text("this is no database, but it is long enough to be read as one" * 20)
    with pytest.raises(BridgeError) as caught:
        await Store.open(wrong.format(folder=tmp_path))
    assert caught.value.code == "database_unavailable"
    assert "database" in caught.value.hint
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "change",
    ["DROP TABLE learned_pairs", "ALTER TABLE learned_pairs RENAME COLUMN mapping_id TO mapping"],
)
async def test_a_database_of_another_version_is_called_so_with_its_path(tmp_path: Path, change: str) -> None:
    store = await Store.open(url(tmp_path))
    async with store.write() as connection:
        await connection.exec_driver_sql(change)
    with pytest.raises(BridgeError, match="made by another version of Hubbridge") as reading:
        async with store.read() as connection:
            await learned.everything(connection)
    with pytest.raises(BridgeError) as writing:
        async with store.write() as connection:
            await learned.learn(connection, [("a", "b", True)], mapping_id=None)
    await store.close()
    for caught in (reading, writing):
        assert caught.value.code == "database_of_another_version"
        assert str(tmp_path / "data" / "hubbridge.db") in caught.value.message
        assert "disk" not in caught.value.message + caught.value.hint
        assert "data_dir" in caught.value.hint


async def test_a_statement_of_ours_that_is_wrong_is_not_blamed_on_the_database(store: Store) -> None:
    with pytest.raises(OperationalError, match="syntax error"):
        async with store.read() as connection:
            await connection.exec_driver_sql("SELEKT 1")


async def test_what_a_transaction_wrote_is_gone_when_it_raises(store: Store) -> None:
    with pytest.raises(ValueError, match="on purpose"):
        async with store.write() as connection:
            await task_rows.add_task(connection, "street", LABELS)
            raise ValueError("on purpose")
    assert await names(store) == []


async def test_what_a_transaction_wrote_is_gone_when_it_is_cancelled(store: Store) -> None:
    begun = asyncio.Event()

    async def writes() -> None:
        async with store.write() as connection:
            await task_rows.add_task(connection, "street", LABELS)
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(writes())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(store) == []
    async with store.write() as connection:  # and the next one can write
        await task_rows.add_task(connection, "road", LABELS)
    assert await names(store) == ["road"]


async def test_writers_of_one_process_wait_for_each_other(store: Store) -> None:
    async def count() -> None:
        async with store.write() as connection:
            before = await connection.scalar(sa.text("SELECT frame_count FROM tasks"))
            await asyncio.sleep(0)
            await connection.execute(sa.text("UPDATE tasks SET frame_count = :n"), {"n": before + 1})

    async with store.write() as connection:
        await task_rows.add_task(connection, "street", LABELS)
    await asyncio.gather(*(count() for _ in range(20)))
    async with store.read() as connection:
        assert await connection.scalar(sa.text("SELECT frame_count FROM tasks")) == 20


async def test_a_writer_waits_for_one_of_another_process(store: Store, tmp_path: Path) -> None:
    other = await Store.open(url(tmp_path))  # connections of its own, as another process has
    async with store.write() as connection:
        await task_rows.add_task(connection, "first", LABELS)

        async def second() -> None:
            async with other.write() as later:
                assert [task.name for task in await task_rows.list_tasks(later)] == ["first"]
                await task_rows.add_task(later, "second", LABELS)

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.1)
        assert not waiting.done()
    await waiting
    assert await names(store) == ["first", "second"]
    await other.close()


async def test_a_database_that_stays_locked_is_overloaded_and_a_reader_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    one, two = await Store.open(url(tmp_path)), await Store.open(url(tmp_path))
    async with one.write() as connection:
        await task_rows.add_task(connection, "street", LABELS)
        assert await names(two) == []
        with pytest.raises(Overloaded, match="did not answer"):
            async with two.write():
                pytest.fail("the other holds the lock")
    await one.close()
    await two.close()


async def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError):
        async with store.write() as connection:
            await connection.execute(
                sa.text(
                    "INSERT INTO frames (task_id, number, name, path, width, height) VALUES (9, 0, 'a', '/a', 1, 1)"
                )
            )


async def test_a_reader_sees_one_moment(store: Store) -> None:
    async with store.read() as connection:
        assert await task_rows.list_tasks(connection) == []
        async with store.write() as writer:
            await task_rows.add_task(writer, "street", LABELS)
        assert await task_rows.list_tasks(connection) == []
    assert await names(store) == ["street"]


async def test_a_cancelled_writer_lets_go_of_the_database_at_once(tmp_path: Path) -> None:
    store = await Store.open(url(tmp_path))
    errors: list[BaseException] = []  # whoever keeps these keeps the cursors of the transactions

    async def write(loops: int) -> None:
        async with store.write() as connection:
            for number in range(5):
                values = {"operation": str(loops), "key": str(number), "body_hash": "", "owner": "", "created_at": 0.0}
                query = sa.insert(idempotency_keys).values(**values).returning(idempotency_keys.c.key)
                await connection.execute(query)
            raise AssertionError("it was to be cancelled")

    for loops in range(60):
        task = asyncio.create_task(write(loops))
        for _ in range(loops):
            await asyncio.sleep(0)
        if loops > 40:
            await asyncio.sleep(0.001)
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, AssertionError) as error:
            errors.append(error)
        async with asyncio.timeout(60), store.write() as connection:
            assert await connection.scalar(sa.select(sa.func.count()).select_from(idempotency_keys)) == 0
    assert any(isinstance(error, asyncio.CancelledError) for error in errors)
    await store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_tasks_cancelled_at_any_moment_leave_no_connection_and_no_lock_behind(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 30_000)
    whims = random.Random(seed)
    stores = [await Store.open(url(tmp_path)) for _ in range(2)]
    tried = 0
    kept: set[str] = set()

    async def write(store: Store) -> None:
        nonlocal tried
        tried += 1
        name = f"task {tried}"
        async with store.write() as connection:
            await task_rows.add_task(connection, name, LABELS)
        kept.add(name)

    for _ in range(40):
        tasks = [asyncio.create_task(whims.choice((write, write, names))(whims.choice(stores))) for _ in range(4)]
        await asyncio.sleep(whims.random() * 0.02)
        for task in tasks:
            if whims.random() < 0.7:
                task.cancel()
                if whims.random() < 0.3:
                    await asyncio.sleep(0)
                    task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, list | asyncio.CancelledError), repr(ended)
    async with asyncio.timeout(60):
        for store in stores:
            await write(store)
    assert kept <= set(await names(stores[0]))
    for store in stores:
        await store.close()
    async with asyncio.timeout(60):
        while asyncio.all_tasks() != {asyncio.current_task()}:  # such as attempts to close a connection
            await asyncio.sleep(0.01)


async def test_the_write_ahead_log_begins_anew_also_where_readers_never_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is hardly a moment without a reader, so SQLite by itself would let it grow for ever."""
    monkeypatch.setattr(engine, "MOST_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(engine, "READERS_MS", 60_000)
    monkeypatch.setattr(engine, "AGAIN_S", 0.0)
    written, done = 12, asyncio.Event()

    async def read(number: int) -> None:
        while not done.is_set():
            async with store.read() as connection:
                await connection.execute(sa.text("SELECT count(*) FROM tasks"))
                await asyncio.sleep(0.02 + number / 200)

    async def write() -> None:
        for i in range(written):  # 2 MB each, with the index
            async with store.write() as connection:
                await task_rows.add_task(connection, f"task {i}", [TaskLabel("x" * (1 << 20))])
            await asyncio.sleep(0.05)
        done.set()

    await asyncio.gather(*(read(number) for number in range(6)), write())
    assert (tmp_path / "data" / "hubbridge.db-wal").stat().st_size < 6 << 20
    assert len(await names(store)) == written
    for transaction in (store.read(), store.write()):
        async with transaction as connection:
            assert await connection.scalar(sa.text("PRAGMA busy_timeout")) == engine.BUSY_TIMEOUT_MS


async def test_a_reader_that_does_not_end_keeps_the_log_and_harms_no_writer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MOST_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(engine, "READERS_MS", 50)
    monkeypatch.setattr(engine, "AGAIN_S", 0.0)
    async with store.read() as reader:
        await reader.execute(sa.text("SELECT count(*) FROM tasks"))
        for i in range(3):
            async with store.write() as connection:
                await task_rows.add_task(connection, f"task {i}", [TaskLabel("x" * (1 << 20))])
        assert await reader.scalar(sa.text("SELECT count(*) FROM tasks")) == 0  # it still sees its own moment
    assert len(await names(store)) == 3
    async with store.write() as connection:
        await task_rows.add_task(connection, "one more", LABELS)
    assert (tmp_path / "data" / "hubbridge.db-wal").stat().st_size == 0
