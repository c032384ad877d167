"""Where a Label Studio is, and which of its projects is meant, read from what people paste. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.errors import InvalidRequest
from bridge.web_address import server_address, web_address

_PROJECT = re.compile(r"(?P<prefix>.*?)/projects/(?P<id>[0-9]{1,18})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class ProjectAddress:
    """``base``: scheme, host, port and path prefix, without a slash at the end."""

    base: str
    project: int

    @property
    def text(self) -> str:
        """As a task's ``remote_ref`` keeps it."""
        return f"{self.base}/projects/{self.project}"

    @property
    def host(self) -> str:
        """``host`` or ``host:port``, as secrets are kept for it."""
        return host_of(self.base)


def parse_project(text: str) -> ProjectAddress:
    """``https://label-studio.example/projects/7``, also with /data or more behind it. Raises InvalidRequest."""
    hint = "Paste the address of the open project, for example http://localhost:8080/projects/7"
    parts = web_address(text)
    found = None if parts is None else _PROJECT.fullmatch(parts.path)
    if parts is None or found is None:
        raise InvalidRequest(f"{text[:200]!r} is no address of a Label Studio project.", hint=hint)
    if parts.username or parts.password:
        raise InvalidRequest(
            "The address holds a user name or a password.",
            hint="Leave it out, and set LABEL_STUDIO_API_KEY to an access token of Label Studio.",
        )
    base = f"{parts.scheme}://{parts.netloc.lower()}{found['prefix'].rstrip('/')}"
    return ProjectAddress(base, int(found["id"]))


def parse_server(text: str) -> str:
    """Where a Label Studio stands, of its address or that of a page of a project. Raises InvalidRequest."""
    if is_project(text):
        return parse_project(text).base
    return server_address(text, "a Label Studio", "http://localhost:8080")


def is_project(text: str) -> bool:
    """Whether a pasted text can be meant as a project's address. CVAT's project pages look alike: the host decides."""
    try:
        parse_project(text)
    except InvalidRequest:
        return False
    return True


def host_of(url: str) -> str:
    """``host`` or ``host:port`` of an address, in lower case."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
