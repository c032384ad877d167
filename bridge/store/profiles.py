"""Profiles in the database."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import Profile, TaskLabel
from bridge.errors import Conflict, NotFound
from bridge.store.models import moment, names_in_use
from bridge.store.tables import mappings, profiles
from bridge.task_labels import labels_as_json, labels_from_json

_ROWS = sa.select(profiles, mappings.c.pairs).outerjoin(mappings, profiles.c.mapping_id == mappings.c.id)


def _profile(row: sa.Row[Any]) -> Profile:
    return Profile(
        id=row.id,
        name=row.name,
        title=row.title,
        model_id=row.model_id,
        labels=labels_from_json(row.labels),
        mapping_id=row.mapping_id,
        pairs=row.pairs or {},
        prompts={label: tuple(texts) for label, texts in row.prompts.items()},
        threshold=row.threshold,
        created_at=moment(row.created_at),
    )


async def add_profile(
    connection: AsyncConnection,
    name: str,
    title: str,
    model_id: int,
    labels: Sequence[TaskLabel],
    *,
    mapping_id: int | None,
    prompts: Mapping[str, Sequence[str]],
    threshold: float | None,
) -> Profile:
    """Store a profile. Raises Conflict where a profile or a model has the name."""
    if name in await names_in_use(connection):
        raise Conflict(f"A model or a profile named {name} exists already.", hint="Choose another name.")
    result = await connection.execute(
        sa.insert(profiles).values(
            name=name,
            title=title,
            model_id=model_id,
            labels=labels_as_json(labels),
            mapping_id=mapping_id,
            prompts={label: list(texts) for label, texts in prompts.items()},
            threshold=threshold,
            created_at=time.time(),
        )
    )
    assert result.inserted_primary_key
    return await get_profile(connection, int(result.inserted_primary_key[0]))


async def get_profile(connection: AsyncConnection, profile_id: int) -> Profile:
    row = (await connection.execute(_ROWS.where(profiles.c.id == profile_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no profile {profile_id}.", hint="`hubbridge profile list` shows them.")
    return _profile(row)


async def find_profile(connection: AsyncConnection, name: str) -> Profile | None:
    row = (await connection.execute(_ROWS.where(profiles.c.name == name))).one_or_none()
    return None if row is None else _profile(row)


async def list_profiles(connection: AsyncConnection, *, after: int = 0, most: int | None = None) -> list[Profile]:
    """In the order of their ids, those behind ``after``."""
    query = _ROWS.where(profiles.c.id > after).order_by(profiles.c.id).limit(most)
    return [_profile(row) for row in await connection.execute(query)]


async def remove_profile(connection: AsyncConnection, profile_id: int) -> None:
    result = await connection.execute(sa.delete(profiles).where(profiles.c.id == profile_id))
    if result.rowcount == 0:
        raise NotFound(f"There is no profile {profile_id}.", hint="`hubbridge profile list` shows them.")
