"""Tokens and sessions: made, checked, expired, revoked; their texts are stored nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.domain import Scope
from bridge.errors import InvalidRequest, NotFound
from bridge.store import Store
from bridge.tokens import PREFIX, Tokens, csrf_token


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(tmp_path: Path, clock: Clock) -> AsyncIterator[Tokens]:
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'db'}")
    made = Tokens(store, session_s=3600, clock=clock)
    yield made
    await made.close()
    await store.close()


async def test_a_token_is_known_by_its_text_alone(tokens: Tokens, tmp_path: Path) -> None:
    made, text = await tokens.create(" CI ", Scope.ANNOTATE)
    assert (made.name, made.scope, made.expires_at) == ("CI", Scope.ANNOTATE, None)
    assert text.startswith(PREFIX) and len(text) == len(PREFIX) + 43
    assert await tokens.check(text) == made
    assert await tokens.check(text.lower()) is None
    assert await tokens.check("") is None
    session = await tokens.open_session(made)
    await tokens.close()
    for file in tmp_path.iterdir():
        stored = file.read_bytes()
        assert text.encode() not in stored and text.removeprefix(PREFIX).encode() not in stored
        assert session.encode() not in stored and csrf_token(session).encode() not in stored


async def test_expiry_revocation_and_last_use(tokens: Tokens, clock: Clock) -> None:
    made, text = await tokens.create("a", Scope.READ, timedelta(hours=1))
    clock.now += 3599
    assert await tokens.check(text) is not None
    await tokens.close()
    (listed,) = await tokens.list()
    assert listed.last_used_at is not None
    assert listed.last_used_at.timestamp() == clock.now
    assert await tokens.any_lives()
    clock.now += 1
    assert await tokens.check(text) is None
    assert not await tokens.any_lives()
    assert await tokens.any_made()
    await tokens.revoke(made.id)
    first = (await tokens.list())[0].revoked_at
    clock.now += 10
    await tokens.revoke(made.id)
    assert (await tokens.list())[0].revoked_at == first
    with pytest.raises(NotFound):
        await tokens.revoke(99)


async def test_use_is_noted_at_most_once_a_minute(tokens: Tokens, clock: Clock) -> None:
    _, text = await tokens.create("a", Scope.READ)
    start = clock.now
    for _ in range(3):
        await tokens.check(text)
        clock.now += 25
    await tokens.close()
    (listed,) = await tokens.list()
    assert listed.last_used_at is not None
    assert listed.last_used_at.timestamp() == start


async def test_a_session_ends_by_itself_with_its_token_or_by_logging_out(tokens: Tokens, clock: Clock) -> None:
    made, _ = await tokens.create("a", Scope.READ)
    first, second, third = [await tokens.open_session(made) for _ in range(3)]
    assert await tokens.check_session(first) is not None
    await tokens.close_session(first)
    assert await tokens.check_session(first) is None
    assert await tokens.check_session(second) is not None
    clock.now += 3600
    assert await tokens.check_session(second) is None
    fourth = await tokens.open_session(made)
    await tokens.revoke(made.id)
    assert await tokens.check_session(fourth) is None
    assert await tokens.check_session(third) is None


async def test_a_session_ends_with_the_life_of_its_token(tokens: Tokens, clock: Clock) -> None:
    made, _ = await tokens.create("a", Scope.READ, timedelta(minutes=10))
    session = await tokens.open_session(made)
    clock.now += 599
    assert await tokens.check_session(session) is not None
    clock.now += 1
    assert await tokens.check_session(session) is None


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "\0"])
async def test_a_wrong_name_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await tokens.create(name, Scope.READ)


async def test_a_wrong_scope_or_lifetime_is_refused(tokens: Tokens) -> None:
    with pytest.raises(InvalidRequest):
        await tokens.create("a", Scope.OPEN)
    for lifetime in (timedelta(0), timedelta(days=-1), timedelta(days=40_000)):
        with pytest.raises(InvalidRequest):
            await tokens.create("a", Scope.READ, lifetime)


async def test_many_callers_at_once(tokens: Tokens) -> None:
    _, text = await tokens.create("a", Scope.READ)
    assert None not in await asyncio.gather(*(tokens.check(text) for _ in range(50)))
