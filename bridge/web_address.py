"""Addresses of web servers as people paste and configure them, and the hosts that accounts are kept for. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from bridge.errors import InvalidRequest

_NAME = re.compile(r"[\w.-]+")


def web_address(text: str) -> SplitResult | None:
    """The parts of an http or https URL with a host that can be one; None where the text is none."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
        if "[" in parts.netloc:
            ipaddress.IPv6Address(host)
            possible = "%" not in host  # a zone means something on one machine only
        else:
            host.encode("idna")
            possible = _NAME.fullmatch(host) is not None
    except ValueError:
        return None
    return parts if possible and port != 0 and parts.scheme in ("http", "https") else None


def server_address(text: str, what: str, example: str) -> str:
    """Scheme, host, port and path of a server, without a slash at the end; without a scheme it is https.

    Raises InvalidRequest where the text is no such address, or holds a password.
    """
    text = text.strip()
    parts = web_address(text if "://" in text else f"https://{text}")
    if parts is None:
        raise InvalidRequest(f"{text[:200]!r} is no address of {what}.", hint=f"For example: {example}")
    if parts.username or parts.password:
        raise InvalidRequest("The address holds a user's name or password.", hint="Take it out.")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def account_host(text: str) -> str:
    """``host`` or ``host:port`` in lower case, of these or of an address; empty stays empty. Raises InvalidRequest."""
    text = text.strip()
    if not text:
        return ""
    parts = web_address(text if "://" in text else f"https://{text}")
    if parts is None or ("://" not in text and parts.path.strip("/")):
        raise InvalidRequest(
            f"{text[:200]!r} is no host.", hint="Name it as in an address: cvat.example, or cvat.example:8080"
        )
    if parts.username or parts.password:
        raise InvalidRequest("The host comes with a user's name or password.", hint="Leave that out.")
    return parts.netloc.lower()
