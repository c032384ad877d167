"""One host, asked over HTTP: connections are kept, answers are bounded, and every failure is one of our errors.

Hosts repeat a key in their error texts, and aiohttp quotes URLs, key and all, in its own. So what the host says is
shown with every secret blotted out, and aiohttp's errors are not chained to ours.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlsplit

from adapters.errors import (
    AccessDenied,
    BadFrame,
    BadOutput,
    GatewayTimeout,
    ModelNotFound,
    PredictorError,
    PredictTimeout,
    RateLimited,
    Unavailable,
)
from adapters.network import NOT_PUBLIC, HttpPolicy

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER_BYTES = 64 * 2**20
_LONGEST_WAIT_S = 3600.0
_LONGEST_WORD_OF_HOST = 200
_CONNECT_S = 15.0
_IN_ONE_PIECE = 2**19  # of a request's body, in bytes; between the pieces of a larger one others run


@dataclass(frozen=True, slots=True)
class Host:
    """Who is asked, in the words of our errors.

    name      such as Roboflow
    connect   what to do where the key is missing or refused
    credit    what to do where the account has run out of credit
    """

    name: str
    connect: str = ""
    credit: str = "Add credit to the account, or run the model here or on a server of your own."


@dataclass(frozen=True, slots=True)
class Request:
    """One request below a host's base URL. ``query`` may hold a key. ``subject`` is the model, in errors."""

    path: str
    method: str = "POST"
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    subject: str = "the model"


class HttpCaller:
    """Asks one host. Made anywhere, used in one event loop; ``close`` may be called twice."""

    def __init__(
        self,
        base_url: str,
        policy: HttpPolicy,
        host: Host,
        *,
        secrets: Sequence[str | None] = (),
        timeout_s: float = 120.0,
        requests_per_second: float | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """Raises AccessDenied where the policy does not let the host be asked."""
        policy.check(base_url)
        self._base = base_url.rstrip("/")
        self._policy, self._host = policy, host
        self._given = tuple(secrets)
        self._secrets = _spellings(secrets)
        self._timeout_s, self._most = timeout_s, max_answer_bytes
        self._gap_s = 1 / requests_per_second if requests_per_second else 0.0
        self._next = 0.0
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def send(self, request: Request, *, frame_id: str | None = None) -> bytes:
        """The body of a 2xx answer. ``frame_id``: the frame that a refusal of the request's content speaks of.

        Raises PredictorError. A redirect is an error: it is never followed, since it could carry the key elsewhere.
        """
        self.check_open()
        await self._pace()
        failure: PredictorError
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers, body = await self._exchange(request)
        except Exception as error:  # noqa: BLE001  (aiohttp is not imported before it is needed)
            failure = self._translated(error)
        else:
            if 200 <= status < 300:
                return body
            failure = self._refused(request, Answer(status, headers, body), frame_id)
        raise failure  # outside the handler: not chained, see the module's text

    async def json(self, request: Request) -> Any:
        """The answer as JSON. Raises PredictorError. For small answers; large ones are read off the loop."""
        return read_json(await self.send(request), self._host.name)

    async def close(self) -> None:
        """Break off what is under way and let the connections go."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def check_open(self) -> None:
        """Raises PredictorError where it has been closed."""
        if self._closed:
            raise PredictorError(f"The connection to {self._host.name} has been closed.", hint="Open the model again.")

    async def _pace(self) -> None:
        """Wait for this request's turn, where the host allows so many a second."""
        if self._gap_s:
            now = asyncio.get_running_loop().time()
            self._next = max(now, self._next + self._gap_s)
            await asyncio.sleep(self._next - now)
            self.check_open()

    async def _exchange(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        import aiohttp  # noqa: PLC0415  (heavy)

        if self._session is None:
            self._session = self._policy.session(self._base)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        body = request.body
        async with self._session.request(
            request.method,
            self._base + request.path,
            params=request.query,
            headers=request.headers,
            data=io.BytesIO(body) if body is not None and len(body) > _IN_ONE_PIECE else body,
            allow_redirects=False,
            timeout=timeout,
        ) as response:
            answer = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):  # unpacked: a gzip bomb is counted as it grows
                answer += chunk
                if len(answer) > self._most:
                    raise BadOutput(f"{self._host.name} answered more than {self._most // 2**20} MB.")
            return response.status, response.headers, bytes(answer)

    def _translated(self, error: Exception) -> PredictorError:
        """Our form of what went wrong before there was an answer. What is no such error is raised again."""
        name = self._host.name
        if isinstance(error, PredictorError):
            return error
        if type(error) is TimeoutError:  # asyncio's own; aiohttp has classes for those of a connection
            return PredictTimeout(f"{name} did not answer in {self._timeout_s:g} s.")
        if self._closed:
            return PredictorError(f"The connection to {name} was closed.", hint="Open the model again.")
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "aiohttp":
            raise error
        if NOT_PUBLIC in str(error):
            return self._policy.refusal(urlsplit(self._base).hostname or "")
        hint = "Check the address and the network; behind a proxy, set HTTPS_PROXY."
        return Unavailable(f"{name} cannot be reached ({type(error).__name__}).", hint=hint)

    def _refused(  # noqa: PLR0911  (one return per status)
        self, request: Request, answer: Answer, frame_id: str | None
    ) -> PredictorError:
        status, host = answer.status, self._host.name
        says = self._words_of(answer.body)
        match status:
            case 401:
                return AccessDenied(f"{host} refuses the key, or none was sent{says}.", hint=self._host.connect)
            case 402:
                return AccessDenied(
                    f"{host} wants payment: the account is out of credit{says}.", hint=self._host.credit
                )
            case 403 | 423:
                return AccessDenied(
                    f"{host} does not let this account use {request.subject}{says}.", hint=self._host.connect
                )
            case 404 | 410:
                return ModelNotFound(
                    f"{host} does not serve {request.subject}{says}.", hint="Check its name and version."
                )
            case 408 | 504:
                text = f"{host} took too long (HTTP {status}){says}."
                return GatewayTimeout(text, retry_after=answer.retry_after)
            case 429:
                return RateLimited(f"{host} asks us to slow down.", retry_after=answer.retry_after)
            case 503 if answer.loading:
                wait = answer.retry_after
                about = f"; it takes about {wait:.0f} s" if wait is not None else ""
                return Unavailable(f"The model is loading at {host}{about}.", retry_after=wait)
        if status >= 500:
            return Unavailable(f"{host} failed on its side (HTTP {status}){says}.", retry_after=answer.retry_after)
        if 300 <= status < 400:
            text = f"{host} redirects to another address, which is not followed."
            return PredictorError(text, hint="Paste the address that it leads to.")
        if frame_id is not None and status in (400, 413, 415, 422):
            why = "too large" if status == 413 else f"refused (HTTP {status})"
            return BadFrame(frame_id, f"{frame_id} was {why} by {host}{says}.")
        return PredictorError(f"{host} refuses the request (HTTP {status}){says}.")

    def _words_of(self, body: bytes) -> str:
        """What the host says of its refusal, as the end of a sentence: one line, bounded, without any secret."""
        text = self.redact(_error_text(body[:20_000]))
        text = "".join(letter if letter.isprintable() else " " for letter in text)
        text = " ".join(text.split())[:_LONGEST_WORD_OF_HOST].rstrip(". ")
        return f': "{text}"' if text else ""

    def hide(self, issued: str) -> None:
        """From now on this is a secret too, such as a session's token; one that was issued before is over."""
        self._secrets = _spellings((*self._given, issued))

    def redact(self, text: str) -> str:
        """The text with every secret of this caller, however it is encoded, replaced by ***."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _KEY_IN_TEXT.sub(r"\1***", text)


@dataclass(frozen=True, slots=True)
class Answer:
    """A refusal as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the header or Hugging Face's ``estimated_time`` says; at most an hour."""
        asked = retry_after_seconds(self.headers.get("Retry-After", ""), datetime.now(UTC))
        return asked if asked is not None else self._estimated_time

    @property
    def loading(self) -> bool:
        return self._estimated_time is not None or b"loading" in self.body[:2000].lower()

    @property
    def _estimated_time(self) -> float | None:
        content = _object(self.body[:20_000])
        value = content.get("estimated_time")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            return None
        return float(min(value, _LONGEST_WAIT_S))


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """Seconds of a ``Retry-After`` header, a number or an HTTP date (RFC 9110, 10.2.3); None where it is neither."""
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = max(0.0, (date - now).total_seconds())
    if math.isnan(seconds) or seconds < 0:
        return None
    return min(seconds, _LONGEST_WAIT_S)


def read_json(body: bytes, host: str) -> Any:
    """The JSON of an answer. Raises BadOutput."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadOutput(f"{host} did not answer JSON.", hint="Is the address that of the model's host?") from error


# A key that we did not send can stand in an error text too: the name of the parameter gives it away.
_KEY_IN_TEXT = re.compile(
    r"((?:api[_-]?key|token|authorization)[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)[\w%+/.~-]{12,}", re.I
)


def _spellings(secrets: Sequence[str | None]) -> tuple[str, ...]:
    """Every secret as it is and as a URL spells it, longest first."""
    known = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    return tuple(sorted(known, key=len, reverse=True))


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _error_text(body: bytes) -> str:
    """The sentence in the usual JSON error forms; nothing of HTML, empty bodies and other shapes."""
    content = _object(body)
    for name in ("error", "message", "detail", "errors"):
        value = content.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, list):
            value = "; ".join(str(each.get("msg", "")) if isinstance(each, dict) else str(each) for each in value[:3])
        if isinstance(value, str) and value:
            return ": ".join((value, *_fields_of(content)))
    return ""


def _fields_of(content: Mapping[str, Any]) -> list[str]:
    """Which fields are wrong, as Django's REST framework says it in Label Studio: ``{field: [sentence, ..]}``."""
    fields = content.get("validation_errors")
    if not isinstance(fields, dict) or not fields:
        return []
    named = ((name, value[0] if isinstance(value, list) and value else value) for name, value in fields.items())
    return ["; ".join(f"{name} {value}" for name, value in list(named)[:3])]
