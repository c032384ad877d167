"""CVAT's REST API as we use it: who we are, how errors look, and what is waited out.

Every call is one that may be repeated without harm, except ``create``: what became of one that got no answer has to be
found out (``writes.py``), so it is never repeated here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from adapters.errors import AccessDenied, BadOutput, PredictorError, PredictTimeout, Unavailable
from adapters.http_caller import Answer, Host, HttpCaller, Request, read_json
from adapters.network import HttpPolicy
from bridge.errors import RemoteGone, RemoteRefused
from bridge.patience import Patience

MAX_ANSWER_BYTES = 1 << 30  # a chunk of large pictures
TIMEOUT_S = 120.0
PAGE = 500
_DRF_TOKEN = re.compile(r"[0-9a-f]{40}")  # of django-rest-framework; personal access tokens look otherwise

Action = Literal["create", "delete"]


class RemoteFailed(Unavailable):
    """HTTP 500: CVAT is there, and may fail in the same way whenever it is asked for the same."""


class _Caller(HttpCaller):
    """Says in CVAT's terms what it refuses."""

    def _refused(self, request: Request, answer: Answer, frame_id: str | None) -> PredictorError:
        status, says = answer.status, self._words_of(answer.body)
        if status == 404:
            return RemoteGone(
                f"CVAT has no {request.subject}, or hides it from this account{says}.",
                hint="Was it deleted? Of an organization's task, the address needs ?org=SLUG.",
            )
        if status == 403:
            return AccessDenied(
                f"CVAT does not let this account use {request.subject}{says}.",
                hint="Use an account that may edit the task; of an organization's task, the address needs ?org=SLUG.",
            )
        if status in (408, 500, 502, 503, 504):
            why = "is away or being maintained" if status in (502, 503) else "failed on its side"
            kind = RemoteFailed if status == 500 else Unavailable
            return kind(f"CVAT {why} (HTTP {status}){says}.", retry_after=answer.retry_after)
        if 300 <= status < 400:
            target = _origin(answer.headers.get("Location", "")) or "another address"
            return RemoteRefused(status, f"CVAT sends us on to {target}.", hint="Use that address.")
        if status in (400, 405, 409, 413, 415, 422):
            return RemoteRefused(status, f"CVAT refuses {request.subject} (HTTP {status}){says}.")
        return super()._refused(request, answer, frame_id)

    def _words_of(self, body: bytes) -> str:
        """As everywhere; of refused content also the sentences that django-rest-framework lists, by field or not."""
        try:
            said = "; ".join(_sentences(json.loads(body[:20_000])))
        except (ValueError, RecursionError):
            return ""
        text = " ".join("".join(each if each.isprintable() else " " for each in self.redact(said)).split())
        return f': "{text[:200].rstrip(". ")}"' if text else ""


class CvatClient:
    """One account at one CVAT, used in one event loop.

    secret   a token, a personal access token, or ``user:password``
    """

    def __init__(
        self,
        base_url: str,
        secret: str,
        *,
        organization: str = "",
        patience: Patience,
        policy: HttpPolicy,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.base_url, self.patience = base_url, patience
        self._organization = organization
        user, colon, password = secret.partition(":")
        self._login = (user, password) if colon else None
        self._authorization = "" if self._login else _authorization(secret)
        host = Host(
            "CVAT", connect=f"Store an account: hubbridge connection add cvat --host {urlsplit(base_url).netloc}"
        )
        self._caller = _Caller(
            base_url,
            policy,
            host,
            secrets=(secret, password if colon else None),
            timeout_s=timeout_s,
            max_answer_bytes=MAX_ANSWER_BYTES,
        )

    async def close(self) -> None:
        await self._caller.close()

    async def version(self) -> str:
        """Such as 2.15.0; empty where it does not say."""
        about = await self.get("/api/server/about", "its version")
        return str(about.get("version") or "") if isinstance(about, dict) else ""

    async def get(self, path: str, subject: str, **query: object) -> Any:
        """The JSON of an answer, waited for with patience."""
        return read_json(await self.read(path, subject, **query), "CVAT")

    async def read(self, path: str, subject: str, **query: object) -> bytes:
        """The bytes of an answer, waited for with patience."""
        return await self.patience.ask("CVAT", lambda: self.read_once(path, subject, **query))

    async def read_once(self, path: str, subject: str, **query: object) -> bytes:
        """The bytes of an answer, without patience."""
        sent = {name: str(value) for name, value in query.items()}
        return await self._send(Request(path, "GET", sent, subject=subject))

    async def pages(self, path: str, subject: str, **query: object) -> list[dict[str, Any]]:
        """All entries of a paged list."""
        entries: list[dict[str, Any]] = []
        sent: dict[str, object] = {**query, "page_size": PAGE}
        asked: list[dict[str, object]] = []
        while True:
            answer = await self.get(path, subject, **sent)
            if isinstance(answer, list):  # of versions that do not page it
                return [*entries, *_objects(answer)]
            if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
                raise BadOutput(f"CVAT answered no list of {subject}.", hint="Is the address that of a CVAT?")
            entries += _objects(answer["results"])
            following = answer.get("next")
            if not following:
                return entries
            sent = _following(following, subject)
            if sent in asked:
                raise BadOutput(f"CVAT's pages of {subject} have no end.", hint="Is the address that of a CVAT?")
            asked.append(sent)

    async def delete(self, job: int, content: Mapping[str, Any]) -> None:
        """Take annotations away; those that are no longer there are passed over. May be repeated."""
        await self.patience.ask("CVAT", lambda: self._change(job, "delete", content))

    async def create(self, job: int, content: Mapping[str, Any]) -> Any:
        """Add annotations, all or none: the answer. After Unavailable nobody knows whether it happened."""
        return await self._change(job, "create", content)

    async def annotations(self, job: int) -> dict[str, list[dict[str, Any]]]:
        """``tags``, ``shapes`` and ``tracks`` of a CVAT job."""
        body = await self.read(f"/api/jobs/{job}/annotations", f"job {job}")
        answer = await asyncio.to_thread(read_json, body, "CVAT")
        if not isinstance(answer, dict):
            raise BadOutput(f"CVAT answered no annotations of job {job}.")
        return {kind: _objects(answer.get(kind) or []) for kind in ("tags", "shapes", "tracks")}

    async def _change(self, job: int, action: Action, content: Mapping[str, Any]) -> Any:
        whole = {"version": 0, "tags": [], "shapes": [], "tracks": [], **content}
        body = await asyncio.to_thread(lambda: json.dumps(whole, allow_nan=False).encode())
        request = Request(
            f"/api/jobs/{job}/annotations",
            "PATCH",
            {"action": action},
            {"Content-Type": "application/json"},
            body,
            f"the annotations of job {job}",
        )
        return await asyncio.to_thread(read_json, await self._send(request), "CVAT")

    async def _send(self, request: Request) -> bytes:
        """One try; a login that has run out is renewed. A time-out is Unavailable: asking again may help."""
        try:
            try:
                return await self._caller.send(await self._signed(request))
            except AccessDenied:
                if self._login is None or not self._authorization:
                    raise
                self._authorization = ""
                return await self._caller.send(await self._signed(request))
        except PredictTimeout as error:
            raise Unavailable(error.message, hint=error.hint) from error

    async def _signed(self, request: Request) -> Request:
        if not self._authorization:
            self._authorization = await self._log_in()
        headers = {"Authorization": self._authorization, "Accept-Encoding": "identity", **(request.headers or {})}
        if self._organization:
            headers["X-Organization"] = self._organization
        return Request(request.path, request.method, request.query, headers, request.body, request.subject)

    async def _log_in(self) -> str:
        assert self._login is not None
        body = json.dumps({"username": self._login[0], "password": self._login[1]}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._caller.json(Request("/api/auth/login", "POST", None, headers, body, "the login"))
        except RemoteRefused as error:  # 400 for a wrong password
            raise AccessDenied(
                "CVAT does not know this user and password.", hint="Store them anew: hubbridge connection add cvat"
            ) from error
        key = answer.get("key") if isinstance(answer, dict) else None
        if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
            raise BadOutput("CVAT answered the login without a token.", hint="Is the address that of a CVAT?")
        self._caller.hide(key)
        return f"Token {key}"


def _following(address: object, subject: str) -> dict[str, object]:
    """The query of the next page. Its host is the one that CVAT believes to have, and does not count."""
    try:
        return dict(parse_qsl(urlsplit(str(address)).query))
    except ValueError as error:
        raise BadOutput(f"CVAT answered no address of the next page of {subject}.") from error


def _origin(address: str) -> str:
    """Scheme and host of an address; empty where it names none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _sentences(value: Any) -> list[str]:
    """The first of the texts in an answer."""
    if isinstance(value, str):
        return [value]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for entry in list(entries)[:3] for text in _sentences(entry)][:3]


def _authorization(secret: str) -> str:
    return f"Token {secret}" if _DRF_TOKEN.fullmatch(secret) else f"Bearer {secret}"


def _objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
