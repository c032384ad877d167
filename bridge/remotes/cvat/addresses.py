"""The address of a CVAT task, job or project, as it stands in the browser. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bridge.errors import InvalidRequest
from bridge.web_address import server_address, web_address

_PATH = re.compile(
    r"(?P<prefix>.*?)/(?P<kind>tasks|projects)/(?P<id>[0-9]{1,18})(?:/jobs/(?P<job>[0-9]{1,18}))?(?:/.*)?"
)
_ORGANIZATION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Address:
    """``base`` is where CVAT stands (https://cvat.example); exactly one of ``task`` and ``project`` is not None.

    organization   its slug (``?org=``), or empty
    """

    base: str
    task: int | None = None
    job: int | None = None
    project: int | None = None
    organization: str = ""

    @property
    def host(self) -> str:
        """``host`` or ``host:port``, as connections are kept for it."""
        return urlsplit(self.base).netloc

    def __str__(self) -> str:
        what = f"projects/{self.project}" if self.task is None else f"tasks/{self.task}"
        job = f"/jobs/{self.job}" if self.job is not None else ""
        return f"{self.base}/{what}{job}" + (f"?org={self.organization}" if self.organization else "")

    def of_task(self, task: int) -> Address:
        return Address(self.base, task, None, None, self.organization)


def parse_base(text: str) -> str:
    """Where a CVAT stands, of its address or that of a page of it; without a scheme it is https.

    Raises InvalidRequest where it is none, or holds a password.
    """
    text = text.strip()
    known = parse_address(text)
    return known.base if known is not None else server_address(text, "a CVAT", "https://cvat.example")


def parse_address(text: str) -> Address | None:
    """None where the text is no address of this kind.

    Raises InvalidRequest where it holds a password, which would stand in the shell's history and in our records.
    """
    parts = web_address(text)
    match = None if parts is None else _PATH.fullmatch(parts.path)
    if parts is None or match is None:
        return None
    if parts.username or parts.password:
        raise InvalidRequest(
            "The address holds a user's name or password.",
            hint=f"Take it out, and store it: hubbridge connection add cvat --host {parts.netloc.rpartition('@')[2]}",
        )
    if match["kind"] == "projects" and match["job"]:
        return None
    organization = (parse_qs(parts.query).get("org") or [""])[0]
    if organization and not _ORGANIZATION.fullmatch(organization):
        raise InvalidRequest(f"{organization[:50]!r} is no organization's short name.", hint="It stands behind ?org=.")
    base = f"{parts.scheme}://{parts.netloc.lower()}{match['prefix']}"
    number, job = int(match["id"]), int(match["job"]) if match["job"] else None
    if match["kind"] == "projects":
        return Address(base, project=number, organization=organization)
    return Address(base, number, job, organization=organization)
