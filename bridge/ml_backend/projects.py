"""The projects that ask us, as tasks of ours: where they live, with which token, and what was last asked."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from adapters.network import HttpPolicy
from bridge.domain import Task
from bridge.errors import InvalidRequest
from bridge.label_studio.config import LabelConfig
from bridge.label_studio.labels import task_labels
from bridge.ml_backend.requests import Setup
from bridge.remotes.label_studio.address import ProjectAddress
from bridge.secrets import SecretBox
from bridge.store import Store
from bridge.store import label_studio as rows
from bridge.store.label_studio import StoredProject

UNKNOWN_BASE = "http://label-studio.invalid"  # RFC 2606: no host can have this name
_KEY = re.compile(r"([0-9]{1,18})(\.[0-9.]{1,40})?")


@dataclass(frozen=True, slots=True)
class Projects:
    """``configured``: the Label Studio that the operator named; empty where none."""

    store: Store
    secrets: SecretBox
    policy: HttpPolicy
    configured: str

    async def set_up(self, told: Setup, config: LabelConfig) -> Task:
        """The project's local row, with what /setup told of it. Raises InvalidRequest."""
        base = self._base(told.hostname or "")
        token = told.access_token
        sealed = await asyncio.to_thread(self.secrets.encrypt, SecretStr(token)) if token else None
        project_id = project_number(told.project)
        async with self.store.write() as connection:
            task = await rows.put_task(connection, *_named(base, project_id), task_labels(config))
            await rows.put_project(connection, task.id, told.project, base, sealed)
        return task

    async def of_request(self, project_key: str, config: LabelConfig) -> Task:
        """The project's local row, also where its /setup was not heard here."""
        async with self.store.read() as connection:
            known = await rows.find_project(connection, project_key=project_key)
        base = known.base_url if known is not None else self._base("")
        async with self.store.write() as connection:
            return await rows.put_task(connection, *_named(base, project_number(project_key)), task_labels(config))

    async def known(self, task_id: int) -> StoredProject | None:
        async with self.store.read() as connection:
            return await rows.find_project(connection, task_id=task_id)

    def _base(self, hostname: str) -> str:
        """What Label Studio calls itself where the operator trusts that; else the one that the operator named.

        In a container network the two often differ: Label Studio says http://localhost:8080 of itself.
        """
        said = _plain(hostname)
        if said and self.policy.trusts(said):
            return said
        return self.configured or said or UNKNOWN_BASE


def _named(base: str, project_id: int) -> tuple[str, str]:
    """(remote reference, the task's name)."""
    address = ProjectAddress(base, project_id)
    return address.text, f"Label Studio {address.text.partition('//')[2]}"


def project_number(key: str) -> int:
    """The id in 7.1795334111. Raises InvalidRequest."""
    found = _KEY.fullmatch(key)
    if found is None or int(found[1]) < 1:
        raise InvalidRequest(
            "The request names no project.", hint="Label Studio sends its id and a time, such as 7.1795334111."
        )
    return int(found[1])


def _plain(hostname: str) -> str:
    """An http(s) address without anything behind the path; empty where it is none."""
    try:
        parts = urlsplit(hostname.strip())
        _ = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return ""
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
