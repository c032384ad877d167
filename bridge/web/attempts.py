"""Wrong credentials are slowed down: so many of one client, so many altogether, in bounded memory.

What was right a short while ago is looked at in any case, so that nobody locks others out who come through the same
proxy, or by trying from everywhere.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from bridge.errors import TooManyRequests

CLIENT_BURST, CLIENT_PER_S = 10, 0.2
MOST_DEBT = 720  # wrong ones of a client beyond its burst: an hour's worth
ALL_BURST, ALL_PER_S = 200, 10.0
MOST_CLIENTS = 10_000
MOST_KNOWN = 1_000


class _Bucket:
    """``burst`` at once, then ``per_s`` a second."""

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = float(burst), now

    def wait(self, now: float) -> float:
        """Seconds until there is one, 0 where there is."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        return max(0.0, (1 - self._left) / self._per_s)

    def take(self, least: float = 0.0) -> None:
        self._left = max(least, self._left - 1)


class FailedAttempts:
    """``clock`` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = _Bucket(ALL_BURST, ALL_PER_S, clock())
        self._clients: OrderedDict[str, _Bucket] = OrderedDict()
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def check(self, client: str, credential: Hashable) -> None:
        """Before a credential is looked at. Raises TooManyRequests, with the seconds to wait."""
        if credential in self._known:
            return
        now = self._clock()
        bucket = self._clients.get(network_of(client))
        wait = max(self._all.wait(now), bucket.wait(now) if bucket is not None else 0.0)
        if wait > 0:
            raise TooManyRequests(
                "Too many wrong credentials.",
                hint="Wait, then try again with a token that `hubbridge token list` shows as valid.",
                retry_after=wait,
            )

    def failed(self, client: str, credential: Hashable) -> None:
        self._known.pop(credential, None)
        key = network_of(client)
        now = self._clock()
        bucket = self._clients.pop(key, None) or _Bucket(CLIENT_BURST, CLIENT_PER_S, now)
        bucket.wait(now)
        bucket.take(-MOST_DEBT)  # many that were under way at once count, each of them
        self._all.take()
        self._clients[key] = bucket  # the latest stands last
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)

    def succeeded(self, credential: Hashable) -> None:
        self._known[credential] = None
        self._known.move_to_end(credential)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def network_of(client: str) -> str:
    """Whom an address counts for: an IPv6 client has a /64 to itself, so its network counts."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
