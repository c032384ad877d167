"""Label Studio's REST API, as much of it as we need. Every failure is a PredictorError, like a model host's."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from adapters.errors import AccessDenied, BadOutput
from adapters.http_caller import Host, HttpCaller, Request, read_json
from adapters.network import HttpPolicy
from bridge.sources.names import printable

HOST = Host(
    "Label Studio",
    connect="Set LABEL_STUDIO_API_KEY to an access token of a user who may see the project "
    "(Label Studio: Account & Settings).",
)
TIMEOUT_S = 120.0
_REFRESH_BEFORE_S = 30.0  # an access token this close to its end is not used any more

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Project:
    id: int
    title: str
    label_config: str
    model_version: str
    task_number: int


class LabelStudio:
    """One server, as one user. ``key``: a legacy token, a personal access token, or None for none.

    A personal access token is a JWT of its own kind, which is exchanged for access tokens of some minutes.
    """

    def __init__(self, base_url: str, key: str | None, policy: HttpPolicy, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raises AccessDenied where the policy does not let the host be asked."""
        self.base_url = base_url.rstrip("/")
        self._key = key
        self._caller = HttpCaller(self.base_url, policy, HOST, secrets=(key,), timeout_s=timeout_s)
        self._access: str | None = None
        self._refreshing = asyncio.Lock()

    @property
    def key_kind(self) -> str:
        """none, legacy, personal (a refresh token) or access (a token of some minutes)."""
        if not self._key:
            return "none"
        claims = token_claims(self._key)
        if claims is None:
            return "legacy"
        return "personal" if claims.get("token_type") == "refresh" else "access"

    async def authorization(self) -> dict[str, str]:
        """The header that says who asks; {} without a key. Raises PredictorError where no token can be got."""
        match self.key_kind:
            case "none":
                return {}
            case "legacy":
                return {"Authorization": f"Token {self._key}"}
            case "access":
                return {"Authorization": f"Bearer {self._key}"}
        async with self._refreshing:
            if self._access is None or _expires(self._access) < time.time() + _REFRESH_BEFORE_S:
                body = json.dumps({"refresh": self._key}).encode()
                headers = {"Content-Type": "application/json"}
                request = Request("/api/token/refresh/", headers=headers, body=body, subject="the personal token")
                answer = _mapping(read_json(await self._caller.send(request), HOST.name))
                access = answer.get("access")
                if not isinstance(access, str) or not access.isascii() or not access.isprintable():
                    raise BadOutput("Label Studio answered no access token.")
                self._caller.hide(access)
                self._access = access
        return {"Authorization": f"Bearer {self._access}"}

    def renew(self) -> bool:
        """Whether another access token can be had in place of one that was refused: it may have been taken back before
        its time, or the server's clock is ahead of ours."""
        self._access = None
        return self.key_kind == "personal"

    async def ask(self, path: str, *, method: str = "GET", body: Any = None, subject: str = "this") -> Any:
        """The JSON of an answer, None of an empty one. Raises PredictorError."""
        packed = None if body is None else await asyncio.to_thread(_packed, body)
        try:
            answer = await self._send(path, method, packed, subject)
        except AccessDenied:
            if not self.renew():
                raise
            answer = await self._send(path, method, packed, subject)
        return await asyncio.to_thread(read_json, answer, HOST.name) if answer.strip() else None

    async def _send(self, path: str, method: str, body: bytes | None, subject: str) -> bytes:
        headers = {"Accept": "application/json", **await self.authorization()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._caller.send(Request(path, method, headers=headers, body=body, subject=subject))

    async def project(self, project_id: int) -> Project:
        found = _mapping(await self.ask(f"/api/projects/{project_id}/", subject=f"project {project_id}"))
        return Project(
            id=project_id,
            title=_line(found.get("title"))[:200],
            label_config=_text(found.get("label_config")),
            model_version=_text(found.get("model_version")),
            task_number=_count(found.get("task_number")),
        )

    async def version(self) -> str:
        """Such as 1.23.2; empty where it does not say."""
        found = _mapping(await self.ask("/api/version"))
        return _line(found.get("release"))[:40]

    async def user(self) -> str:
        """Who the key belongs to."""
        return _line(_mapping(await self.ask("/api/current-user/whoami")).get("email"))[:200]

    async def backends(self, project_id: int) -> list[Json]:
        """The ML backends that are connected to a project."""
        return _rows(await self.ask(f"/api/ml/?{urlencode({'project': project_id})}", subject="the ML backends"))

    async def tasks(self, project_id: int, page: int, page_size: int) -> tuple[list[Json], int]:
        """A page of tasks (from 1) without their annotations and predictions, and how many there are."""
        query = {"project": project_id, "page": page, "page_size": page_size, "fields": "task_only"}
        answer = _mapping(await self.ask(f"/api/tasks/?{urlencode(query)}", subject=f"project {project_id}"))
        return _rows(answer.get("tasks")), _count(answer.get("total"))

    async def task(self, task_id: int) -> Json:
        return _mapping(await self.ask(f"/api/tasks/{task_id}/", subject=f"task {task_id}"))

    async def predictions(self, project_id: int, task_ids: Sequence[int]) -> dict[int, list[Json]]:
        """What each of some tasks holds, each with an id; a task that is gone is left out."""
        chosen = {"selectedItems": {"all": False, "included": list(task_ids)}}
        query = {"project": project_id, "page": 1, "page_size": len(task_ids), "fields": "all"}
        path = f"/api/tasks/?{urlencode({**query, 'query': json.dumps(chosen)})}"
        answer = _mapping(await self.ask(path, subject=f"project {project_id}"))
        wanted, found = set(task_ids), {}
        for task in _rows(answer.get("tasks")):
            number = task.get("id")
            if type(number) is int and number in wanted:
                held = task.get("predictions")
                entries = _rows(held) if isinstance(held, list) else await self._predictions_of(number)
                if not all(type(entry.get("id")) is int for entry in entries):
                    raise BadOutput(f"Label Studio answered a prediction of task {number} without an id.")
                found[number] = entries
        return found

    async def _predictions_of(self, task_id: int) -> list[Json]:
        return _rows(await self.ask(f"/api/predictions/?{urlencode({'task': task_id})}", subject=f"task {task_id}"))

    async def import_predictions(self, project_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """In one request: all of them, or none."""
        path = f"/api/projects/{project_id}/import/predictions"
        await self.ask(path, method="POST", body=list(predictions), subject=f"project {project_id}")

    async def remove_prediction(self, prediction_id: int) -> None:
        await self.ask(f"/api/predictions/{prediction_id}/", method="DELETE", subject=f"prediction {prediction_id}")

    async def close(self) -> None:
        await self._caller.close()


def token_claims(key: str) -> Json | None:
    """What a JWT says of itself, unchecked; None where it is none."""
    parts = key.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _expires(token: str) -> float:
    """Seconds since 1970; 0 where it does not say, so that it is not kept."""
    end = (token_claims(token) or {}).get("exp")
    try:
        return float(end) if isinstance(end, int | float) else 0.0
    except OverflowError:  # JSON has integers beyond every float
        return 0.0


def regions_of(prediction: Mapping[str, Any]) -> list[Json]:
    """The regions that a prediction of the project holds, whoever made it."""
    result = prediction.get("result")
    return [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []


def _packed(body: Any) -> bytes:
    """Raises BadOutput: what a project held, and is to be brought back, may have numbers that JSON does not know."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise BadOutput("What is to be written to Label Studio holds a number that is none.") from error


def _mapping(answer: Any) -> Json:
    if not isinstance(answer, dict):
        raise BadOutput("Label Studio answered something else than an object.", hint="Is it the address of its pages?")
    return answer


def _rows(answer: Any) -> list[Json]:
    """A list, bare or as a page's ``results``."""
    if isinstance(answer, dict):
        answer = answer.get("results")
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise BadOutput("Label Studio answered something else than a list.")
    return answer


def _text(value: Any) -> str:
    """As text that can be stored: JSON may hold halves of characters."""
    return str(value or "").replace("\0", "").encode("utf-8", "replace").decode()


def _line(value: Any) -> str:
    return printable(str(value or ""))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
