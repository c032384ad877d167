"""Which hosts may be asked: a pasted URL is hostile until proven, a host that the operator allowed is trusted.

The address is checked when the socket is made, after names were resolved: a name that leads to a private address, or
does so only at the second look (DNS rebinding), is refused like the address itself.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adapters.errors import AccessDenied

if TYPE_CHECKING:
    import aiohttp

NOT_PUBLIC = "the address is not public"
# The last 32 bits are an IPv4 address: RFC 6052's NAT64, RFC 4291's "compatible" and RFC 2765's "translated" ones.
_HOLD_IPV4 = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
# Not public, though Python's tables have them so.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(each)
    for each in (
        "168.63.129.16/32",  # Azure's WireServer, the same address in every virtual network
        "192.0.0.0/24",  # special, RFC 6890; at 192.0.0.192 a cloud answers with its metadata
        "192.88.99.0/24",  # 6to4 relays, taken back by RFC 7526
        "64:ff9b:1::/48",  # NAT64 of a site's own, RFC 8215
        "fec0::/10",  # site-local, taken back by RFC 3879
    )
)
_ODD_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)  # 127.1, 0x7f.1, 2130706433: an address all the same
_KEEP_ALIVE_S = 30.0
_CONNECTIONS = 16


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet: not private, loopback, link-local, metadata or multicast."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if any(ip in network for network in _HOLD_IPV4):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """``allowed_hosts``: ``host`` or ``host:port``, lower case, that may be private and may speak plain http."""

    allowed_hosts: frozenset[str] = frozenset()

    def trusts(self, url: str) -> bool:
        """Whether the operator allowed the host by name."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        bracketed = f"[{host}]" if ":" in host else host
        return not self.allowed_hosts.isdisjoint({host, bracketed, f"{bracketed}:{port}"})

    def check(self, url: str) -> None:
        """Raises AccessDenied for plain http, and for an address that is not public, where the host is not trusted."""
        if self.trusts(url):
            return
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https":
            raise AccessDenied(f"{host} would be asked over plain http.", hint=self.hint(host))
        try:
            public = is_public(host)
        except ValueError:
            if _ODD_NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
                raise self.refusal(host) from None
            return  # a name: what it leads to is checked at each connection
        if not public:
            raise self.refusal(host)

    def check_resolved(self, url: str) -> None:
        """As ``check``, and a name must lead to public addresses only; for clients whose sockets we do not make.

        Blocks. Raises AccessDenied, or OSError where the name leads nowhere.
        """
        self.check(url)
        if self.trusts(url) or _proxy(url):
            return
        parts = urlsplit(url)
        host = parts.hostname or ""
        found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        if not all(is_public(str(address[0])) for *_, address in found):
            raise self.refusal(host)

    def check_peer(self, url: str, address: str) -> None:
        """The address that was really reached: a name may lead elsewhere at the second look. Raises AccessDenied."""
        if not self.trusts(url) and not _proxy(url) and not is_public(address):
            raise self.refusal(urlsplit(url).hostname or "")

    def session(self, url: str) -> aiohttp.ClientSession:
        """An HTTP session for the host of ``url`` alone, which must have passed ``check``. Needs a running loop."""
        import aiohttp  # noqa: PLC0415  (the types of this package are used where no host is asked)

        proxy = _proxy(url)
        # Behind the operator's proxy the proxy resolves the name, and its rules hold.
        guard = None if proxy or self.trusts(url) else _public_socket
        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_S, socket_factory=guard, ttl_dns_cache=60
        )
        return aiohttp.ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar())

    def refusal(self, host: str) -> AccessDenied:
        return AccessDenied(f"{host} leads to a private address, which is not asked unasked.", hint=self.hint(host))

    @staticmethod
    def hint(host: str) -> str:
        return f"If you trust it, add {host!r} to allowed_hosts in [network] of config.toml."


def _public_socket(info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise PermissionError(errno.EACCES, NOT_PUBLIC)
    return socket.socket(family, kind, protocol)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for the URL (HTTPS_PROXY, NO_PROXY), or None."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
