"""The way to the database: one writer at a time in a process, readers beside it, migrations at the start."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bridge.errors import BridgeError, Overloaded

_T = TypeVar("_T")

_MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 15_000
_DISK_FULL = ("disk is full", "no space left on device")  # SQLite; PostgreSQL
# A table or a column that is not there: SQLite; PostgreSQL.
_OTHER_TABLES = re.compile(r"no such (table|column)|has no column named|(relation|column) .* does not exist")
# Of the write-ahead log, above which readers are waited for so that it can begin anew; SQLite by itself begins anew
# only at a moment without a reader, and where many ask at once there is none.
MOST_LOG_BYTES = 16 << 20
READERS_MS = 1000  # so long they are waited for, and writers with us
AGAIN_S = 30.0  # after which it is tried again
CACHE_KB = 8192  # of each connection: jobs write in order and hardly look back, and the system caches the file


class Store:
    """All of the service's memory. ``read()`` and ``write()`` give connections inside a transaction.

    SQLite runs in WAL mode: a reader sees one moment, and never waits for the writer. A write transaction begins
    with BEGIN IMMEDIATE, so that it can only wait at its start and never fails in its middle.
    """

    def __init__(self, readers: AsyncEngine, writer: AsyncEngine, durable: AsyncEngine) -> None:
        self._readers = readers
        self._writer = writer
        self._durable = durable
        self._write_lock = asyncio.Lock()
        path = writer.url.database if writer.dialect.name == "sqlite" else None
        self._log = Path(f"{path}-wal") if path else None
        self._shorten_at = 0.0  # by the loop's clock

    @classmethod
    async def open(cls, url: str) -> Store:
        """Open and migrate the database at a SQLAlchemy URL; raises BridgeError where it cannot be used."""
        try:
            store = cls(*_engines(url))
        except (OSError, ArgumentError, ImportError) as error:
            raise _cannot_open(error) from error
        try:
            await store._migrate()
        except (DBAPIError, OSError) as error:
            await store.close()
            raise _cannot_open(error) from error
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        for engine in (self._readers, self._writer, self._durable):
            await engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        with _translated(self._readers):
            async with _transaction(self._readers) as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, durable: bool = False) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block, or rolled back where it raises.

        Other transactions survive a crash of this process, and ``durable`` ones a loss of power as well: for what
        must be known before something is asked for elsewhere.
        """
        engine = self._durable if durable else self._writer
        async with self._write_lock:
            with _translated(engine):
                async with _transaction(engine) as connection:
                    yield connection
            await self._shorten_log()

    async def _shorten_log(self) -> None:
        """Let the write-ahead log begin anew where it has grown; whoever holds the write lock may ask."""
        now = asyncio.get_running_loop().time()
        if self._log is None or now < self._shorten_at:
            return
        try:
            if self._log.stat().st_size <= MOST_LOG_BYTES:
                return
        except OSError:
            return
        self._shorten_at = now + AGAIN_S
        await _to_its_end(asyncio.ensure_future(_checkpoint(self._writer)))

    async def _migrate(self) -> None:
        async with self._readers.begin() as connection:  # most starts have nothing to write, and need not wait
            if await connection.run_sync(_schema_version) == newest_version():
                return
        async with self._writer.begin() as connection:
            if await connection.run_sync(_schema_version) != newest_version():
                await connection.run_sync(_upgrade)


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """As ``engine.begin()``, for tasks that are cancelled at any moment.

    A driver's thread goes on with what it was told; a task that is cancelled meanwhile would leave a connection
    behind that nobody knows of, and with it the lock of a transaction. So beginning and ending are always awaited.
    """
    opening = asyncio.ensure_future(_begin(engine))
    try:
        connection = await _to_its_end(opening)
    except asyncio.CancelledError:
        if not opening.cancelled() and opening.exception() is None:
            await _to_its_end(asyncio.ensure_future(_end(opening.result(), commit=False)))
        raise
    try:
        yield connection
    except BaseException:
        await _to_its_end(asyncio.ensure_future(_end(connection, commit=False)))
        raise
    await _to_its_end(asyncio.ensure_future(_end(connection, commit=True)))


async def _begin(engine: AsyncEngine) -> AsyncConnection:
    connection = await engine.connect()
    try:
        await connection.begin()
    except BaseException:
        await connection.close()
        raise
    return connection


async def _end(connection: AsyncConnection, *, commit: bool) -> None:
    try:
        if commit:
            await connection.commit()
    finally:
        await connection.close()  # what was not committed is rolled back


async def _checkpoint(engine: AsyncEngine) -> None:
    """Empty SQLite's write-ahead log; where readers take too long it stays as it is.

    What was written is committed already, so that a failure here is nobody's.
    """
    with suppress(sqlite3.Error, DBAPIError, PoolTimeoutError):
        async with engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute(f"PRAGMA busy_timeout = {READERS_MS}")
            try:
                async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
                    await cursor.fetchall()
            finally:
                await driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


async def _to_its_end(work: asyncio.Future[_T]) -> _T:
    """The result of a piece of work that is awaited to its end, whatever happens to the task that waits for it."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            if work.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001  (raised below)
            break
    if cancelled is not None:
        raise cancelled
    return work.result()


async def insert_rows(
    connection: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows whose values stand in the order of ``columns``, which is that of the table.

    Half the time of ``sa.insert``, which reads each row by the names of its columns.
    """
    compiled = sa.insert(table).compile(dialect=connection.dialect, column_keys=columns, for_executemany=True)
    assert compiled.positiontup == list(columns)
    await connection.exec_driver_sql(str(compiled), list(rows))


@contextmanager
def _translated(engine: AsyncEngine) -> Iterator[None]:
    """What a full disk, a lock, a lost connection or another version's tables have caused is said in our words.

    Every other error is a defect of ours, and left alone.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise _did_not_answer(error) from error
    except DBAPIError as error:
        cause = _cause(error).lower()
        if any(words in cause for words in _DISK_FULL):
            raise Overloaded(
                "The disk that holds the database is full.",
                hint="Make room, then try again; a job is resumed. Nothing was stored by half.",
                code="disk_full",
            ) from error
        if _OTHER_TABLES.search(cause):
            raise _other_tables(error, engine) from error
        if isinstance(error, OperationalError) and not _is_about_the_statement(error):
            raise _did_not_answer(error) from error
        raise


def _is_about_the_statement(error: OperationalError) -> bool:
    """SQLite's general error, SQLITE_ERROR: not that the file is locked, broken or out of reach."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _did_not_answer(error: Exception) -> Overloaded:
    return Overloaded(
        f"The database did not answer: {_cause(error)}.",
        hint="Another program may hold it. Nothing was changed; try again.",
        code="database_unavailable",
    )


def _other_tables(error: Exception, engine: AsyncEngine) -> BridgeError:
    place = engine.url.database or "the database"
    return BridgeError(
        f"{place} was made by another version of Hubbridge: {_cause(error).splitlines()[0]}.",
        hint="Use that version, or choose another folder ([storage] data_dir, --data-dir) or database_url.",
        code="database_of_another_version",
    )


def _cause(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).rstrip(".")


def _cannot_open(error: Exception) -> BridgeError:
    # What is wrong with a URL is not repeated: it may hold a password.
    cause = "database_url is no URL of a database" if isinstance(error, ArgumentError) else _cause(error)
    return BridgeError(
        f"The database cannot be opened: {cause}.",
        hint="Check [storage] data_dir and database_url, and that the folder can be written.",
        code="database_unavailable",
    )


def _engines(url: str) -> tuple[AsyncEngine, AsyncEngine, AsyncEngine]:
    """(for reading, for writing, for durable writing).

    Raises ArgumentError, ImportError without the database's driver, or OSError.
    """
    if not url.startswith("sqlite"):
        engine = create_async_engine(url)
        return engine, engine, engine
    path = sa.make_url(url).database
    if path and path != ":memory:" and not path.startswith("file:"):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Path(path).open("ab"):  # better refused here than in the driver's thread
            pass
    durable = _sqlite_engine(url, "BEGIN IMMEDIATE", 1, synchronous="FULL")
    return _sqlite_engine(url, "BEGIN", 5), _sqlite_engine(url, "BEGIN IMMEDIATE", 1), durable


def _sqlite_engine(url: str, begin: str, pool_size: int, synchronous: str = "NORMAL") -> AsyncEngine:
    overflow = 20 if begin == "BEGIN" else 0
    # Last in, first out: who is alone uses one connection, and one cache, however many there were before.
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=overflow, pool_use_lifo=True)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own implicit BEGIN comes too late
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"cache_size = -{CACHE_KB}",
        ):
            try:
                cursor.execute(f"PRAGMA {pragma}")
            except BaseException:
                connection.close()  # the pool does not know of it yet
                raise
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "invalidate")
    def _let_go(connection: Any, *_: Any) -> None:
        # Of a cancelled caller. Closing alone does not end the transaction while a cursor of it is still referred to,
        # by a traceback for one, and nobody else could write until it is collected.
        connection.rollback()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def newest_version() -> str:
    """Of the schema that this code speaks of: the files of the migrations are named by their numbers."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _schema_version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415  (only where a migration is due)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise BridgeError(
            "The database was written by a newer version of Hubbridge.",
            hint="Install that version, or point [storage] database_url at another database.",
            code="database_too_new",
        ) from error
