"""Foreign web pages are kept out, also where the service stands open on the loopback interface.

Any web page can make a browser send requests to 127.0.0.1. Two checks keep such pages out: where no token is asked for,
the Host header must name this machine (a page whose own name was made to resolve to 127.0.0.1 sends its name); and a
request that changes something must not come from another origin (the browser says so in Origin and Sec-Fetch-Site,
which no page can forge).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from aiohttp import web
from yarl import URL

from bridge.errors import Forbidden

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and nothing else."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_origin(request: web.Request, *, is_open: bool, public_url: str = "", known_as: Collection[str] = ()) -> None:
    """Raises Forbidden for what a foreign web page made a browser send.

    is_open      nobody is asked for a token, so the Host header must name this machine
    public_url   where a proxy shows this server, in lower case; its pages are ours
    known_as     further names of this machine, in lower case, that no foreign page can have
    """
    given = request.headers.getall("Host", [])
    host = _host_of(given[0]) if len(given) == 1 else None
    if host is None or (is_open and not is_loopback(host) and host not in known_as):
        raise Forbidden(
            "The Host header does not name this machine.",
            hint="Ask for http://127.0.0.1 or http://localhost, or make a token: hubbridge token create.",
            code="foreign_host",
        )
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("Origin")
    ours = {f"{scheme}://{given[0]}".lower() for scheme in ({request.scheme} if is_open else {"http", "https"})}
    foreign = origin is not None and origin.lower() not in ours | {public_url or None}
    if foreign or request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden(
            "Pages of other sites may not change anything here.",
            hint="Call the service from a program, or from its own pages. Behind a proxy, set [server] public_url.",
            code="foreign_origin",
        )


def _host_of(header: str) -> str | None:
    try:
        return URL(f"http://{header}").host
    except ValueError:
        return None
