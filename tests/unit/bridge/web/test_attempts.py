"""Wrong credentials are slowed down, in bounded memory."""

from __future__ import annotations

import pytest

from bridge.errors import TooManyRequests
from bridge.web import attempts
from bridge.web.attempts import FailedAttempts, network_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def use_up(tries: FailedAttempts, client: str) -> None:
    for i in range(attempts.CLIENT_BURST):
        tries.check(client, i)
        tries.failed(client, i)


def test_a_client_may_be_wrong_so_often_and_then_now_and_again(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    use_up(tries, "10.0.0.1")
    with pytest.raises(TooManyRequests) as refused:
        tries.check("10.0.0.1", "x")
    assert refused.value.retry_after_s == 5
    tries.check("10.0.0.2", "x")
    clock.now += 5
    tries.check("10.0.0.1", "x")
    tries.failed("10.0.0.1", "x")
    with pytest.raises(TooManyRequests):
        tries.check("10.0.0.1", "x")


def test_wrong_ones_that_are_tried_at_once_each_count(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    for i in range(100):  # all are looked at before the first is known to be wrong
        tries.check("10.0.0.1", i)
    for i in range(100):
        tries.failed("10.0.0.1", i)
    clock.now += (100 - attempts.CLIENT_BURST) / attempts.CLIENT_PER_S
    with pytest.raises(TooManyRequests):
        tries.check("10.0.0.1", "x")
    clock.now += 1 / attempts.CLIENT_PER_S
    tries.check("10.0.0.1", "x")


def test_a_client_waits_no_longer_than_an_hour_and_some(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    for i in range(5000):
        tries.failed("10.0.0.1", i)
    clock.now += (attempts.MOST_DEBT + 1) / attempts.CLIENT_PER_S
    tries.check("10.0.0.1", "x")


def test_clients_together_may_be_wrong_so_often(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    for i in range(attempts.ALL_BURST):
        tries.check(f"10.0.{i // 200}.{i % 200}", i)
        tries.failed(f"10.0.{i // 200}.{i % 200}", i)
    with pytest.raises(TooManyRequests):
        tries.check("192.0.2.1", "x")
    clock.now += 1 / attempts.ALL_PER_S
    tries.check("192.0.2.1", "x")


def test_what_was_right_is_looked_at_until_it_is_wrong(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    tries.succeeded("good")
    use_up(tries, "10.0.0.1")
    tries.check("10.0.0.1", "good")
    tries.failed("10.0.0.1", "good")  # revoked meanwhile
    with pytest.raises(TooManyRequests):
        tries.check("10.0.0.1", "good")


def test_memory_is_bounded(clock: Clock) -> None:
    tries = FailedAttempts(clock)
    for i in range(attempts.MOST_CLIENTS + 500):
        tries.failed(f"client {i}", i)
        tries.succeeded(i)
    assert len(tries._clients) == attempts.MOST_CLIENTS
    assert len(tries._known) == attempts.MOST_KNOWN


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_an_ipv6_client_counts_as_its_network(client: str, network: str) -> None:
    assert network_of(client) == network
