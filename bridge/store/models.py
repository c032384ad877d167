"""Models, connections and mappings in the database."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import ModelCard
from adapters.cards import card_as_json, card_from_json
from bridge.domain import Connection, LabelMapping, Model
from bridge.errors import Conflict, NotFound
from bridge.store.tables import connections, jobs, label_studio_projects, mappings, models, profiles


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def card_to_json(card: ModelCard) -> str:
    return json.dumps(card_as_json(card), separators=(",", ":"))


def _model(row: sa.Row[Any]) -> Model:
    return Model(
        row.id, row.name, card_from_json(json.loads(row.card)), row.threshold, moment(row.created_at), row.fetched
    )


async def add_model(connection: AsyncConnection, name: str, card: ModelCard) -> Model:
    """Store a model. Raises Conflict where a model or a profile has the name."""
    await _refuse_profile_name(connection, name)
    values = {
        "name": name,
        "reference": card.reference,
        "revision": card.revision,
        "engine": card.engine,
        "card": card_to_json(card),
        "threshold": card.default_threshold,
        "fetched": False,
        "created_at": time.time(),
    }
    try:
        result = await connection.execute(sa.insert(models).values(values))
    except IntegrityError as error:
        raise Conflict(f"A model named {name} exists already.", hint="Choose another name with --name.") from error
    assert result.inserted_primary_key
    return await get_model(connection, int(result.inserted_primary_key[0]))


async def get_model(connection: AsyncConnection, model_id: int) -> Model:
    row = (await connection.execute(sa.select(models).where(models.c.id == model_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no model {model_id}.", hint="`hubbridge model list` shows what is registered.")
    return _model(row)


async def find_model(
    connection: AsyncConnection, *, name: str | None = None, card: ModelCard | None = None
) -> Model | None:
    """The model of that name, or the one with the card's reference, revision and engine."""
    query = sa.select(models)
    if name is not None:
        query = query.where(models.c.name == name)
    if card is not None:
        query = query.where(
            models.c.reference == card.reference,
            models.c.revision == card.revision,
            models.c.engine == card.engine,
        )
    row = (await connection.execute(query)).first()
    return _model(row) if row else None


async def list_models(connection: AsyncConnection, *, after: int = 0, most: int | None = None) -> list[Model]:
    """In the order of their ids, those behind ``after``."""
    query = sa.select(models).where(models.c.id > after).order_by(models.c.id).limit(most)
    return [_model(row) for row in await connection.execute(query)]


async def list_readable_models(connection: AsyncConnection) -> list[Model]:
    """As ``list_models``, without those whose card cannot be read: for lists that one model must not break."""
    found = []
    for row in await connection.execute(sa.select(models).order_by(models.c.id)):
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            found.append(_model(row))
    return found


async def update_model(connection: AsyncConnection, model_id: int, **values: Any) -> Model:
    """Set ``name``, ``threshold`` or ``fetched``. Raises NotFound, or Conflict where the name is taken."""
    if "name" in values:
        await _refuse_profile_name(connection, values["name"])
    try:
        await connection.execute(sa.update(models).where(models.c.id == model_id).values(**values))
    except IntegrityError as error:
        raise Conflict(f"A model named {values.get('name')} exists already.", hint="Choose another name.") from error
    return await get_model(connection, model_id)


async def _refuse_profile_name(connection: AsyncConnection, name: str) -> None:
    """Models and profiles share one space of names."""
    if await connection.scalar(sa.select(profiles.c.id).where(profiles.c.name == name)) is not None:
        raise Conflict(f"A profile named {name} exists already.", hint="Choose another name.")


async def names_in_use(connection: AsyncConnection) -> set[str]:
    """Of models and profiles."""
    both = sa.select(models.c.name).union_all(sa.select(profiles.c.name))
    return set((await connection.execute(both)).scalars())


async def set_card(connection: AsyncConnection, model_id: int, card: ModelCard) -> Model:
    """Replace what is known of a model, which stays the same reference, revision and engine."""
    await connection.execute(sa.update(models).where(models.c.id == model_id).values(card=card_to_json(card)))
    return await get_model(connection, model_id)


async def remove_model(connection: AsyncConnection, model_id: int) -> None:
    """Forget a model. Raises Conflict while jobs or profiles refer to it."""
    await get_model(connection, model_id)
    name = await connection.scalar(sa.select(profiles.c.name).where(profiles.c.model_id == model_id).limit(1))
    if name is not None:
        raise Conflict(f"The profile {name} uses this model.", hint=f"Remove it first: hubbridge profile remove {name}")
    used = await connection.scalar(sa.select(sa.func.count()).where(jobs.c.model_id == model_id))
    if used:
        raise Conflict(
            f"{used} annotation job{'s' if used > 1 else ''} used this model, and their record names it.",
            hint="Remove the tasks of those jobs first, or keep the model: it takes no memory while it is not used.",
        )
    await connection.execute(sa.delete(models).where(models.c.id == model_id))


async def put_connection(connection: AsyncConnection, kind: str, host: str, secret: bytes) -> Connection:
    """Store an account's encrypted secret; one that is there for the same kind and host is replaced."""
    await connection.execute(
        sa.delete(connections).where(connections.c.kind == kind, connections.c.host == host),
    )
    now = time.time()
    values = {"kind": kind, "host": host, "secret": secret, "created_at": now}
    result = await connection.execute(sa.insert(connections).values(values))
    assert result.inserted_primary_key
    return Connection(int(result.inserted_primary_key[0]), kind, host, moment(now))


async def list_connections(connection: AsyncConnection) -> list[Connection]:
    rows = await connection.execute(sa.select(connections).order_by(connections.c.id))
    return [Connection(row.id, row.kind, row.host, moment(row.created_at)) for row in rows]


async def encrypted_secrets(connection: AsyncConnection) -> dict[tuple[str, str], bytes]:
    """(kind, host) -> encrypted secret."""
    rows = await connection.execute(sa.select(connections))
    return {(row.kind, row.host): row.secret for row in rows}


async def project_tokens(connection: AsyncConnection) -> dict[str, bytes]:
    """Base URL of a Label Studio and project -> the encrypted token that its /setup told."""
    table = label_studio_projects
    rows = await connection.execute(sa.select(table).where(table.c.token.is_not(None)))
    return {f"{row.base_url}, project {row.project_key.partition('.')[0]}": row.token for row in rows}


async def replace_secrets(connection: AsyncConnection, change: Callable[[bytes], bytes]) -> int:
    """Store ``change`` of every encrypted secret, all or none; how many there are."""
    count = 0
    projects = label_studio_projects.c
    for key, secret in ((connections.c.id, connections.c.secret), (projects.task_id, projects.token)):
        for row in (await connection.execute(sa.select(key, secret).where(secret.is_not(None)))).all():
            update = sa.update(key.table).where(key == row[0]).values({secret.name: change(row[1])})
            await connection.execute(update)
            count += 1
    return count


async def remove_connection(connection: AsyncConnection, connection_id: int) -> None:
    result = await connection.execute(sa.delete(connections).where(connections.c.id == connection_id))
    if result.rowcount == 0:
        raise NotFound(
            f"There is no connection {connection_id}.", hint="`hubbridge connection list` shows what is stored."
        )


def _mapping(row: sa.Row[Any]) -> LabelMapping:
    return LabelMapping(row.id, row.version, row.model_id, row.task_id, row.pairs, moment(row.created_at))


async def add_mapping(
    connection: AsyncConnection, model_id: int, task_id: int | None, pairs: Mapping[str, str]
) -> LabelMapping:
    """A new version of a model's mapping for a task; the latest one itself where its pairs are the same."""
    same_target = (mappings.c.model_id == model_id) & (mappings.c.task_id == task_id)
    query = sa.select(mappings).where(same_target).order_by(mappings.c.version.desc()).limit(1)
    latest = (await connection.execute(query)).one_or_none()
    if latest is not None and latest.pairs == dict(pairs):
        return _mapping(latest)
    result = await connection.execute(
        sa.insert(mappings).values(
            version=latest.version + 1 if latest is not None else 1,
            model_id=model_id,
            task_id=task_id,
            pairs=dict(pairs),
            created_at=time.time(),
        )
    )
    assert result.inserted_primary_key
    return await get_mapping(connection, int(result.inserted_primary_key[0]))


async def get_mapping(connection: AsyncConnection, mapping_id: int) -> LabelMapping:
    row = (await connection.execute(sa.select(mappings).where(mappings.c.id == mapping_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no mapping {mapping_id}.")
    return _mapping(row)


async def list_mappings(
    connection: AsyncConnection,
    *,
    model_id: int | None = None,
    task_id: int | None = None,
    after: int = 0,
    most: int | None = None,
) -> list[LabelMapping]:
    query = sa.select(mappings).where(mappings.c.id > after).order_by(mappings.c.id).limit(most)
    if model_id is not None:
        query = query.where(mappings.c.model_id == model_id)
    if task_id is not None:
        query = query.where(mappings.c.task_id == task_id)
    return [_mapping(row) for row in await connection.execute(query)]
