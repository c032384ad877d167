"""The image that a task of Label Studio names, fetched as Label Studio's own pages would.

An address is one of: a path of Label Studio (``/data/upload/...``, ``/data/local-files/?d=...``), fetched there with
the user's token; a bucket's (``s3://``, ``gs://``, ``azure-blob://``), which Label Studio turns into a presigned one;
any other http(s) address, fetched without a token; or a ``data:`` URL. What a task names is hostile until proven, so
each host is asked only where the network policy lets it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from adapters.errors import AccessDenied, BadFrame, PredictorError, RateLimited, Transient, Unavailable
from adapters.network import NOT_PUBLIC, HttpPolicy
from bridge.remotes.label_studio.client import LabelStudio

if TYPE_CHECKING:
    import aiohttp

BUCKETS = ("s3", "gs", "azure-blob", "azure", "redis")
MAX_REDIRECTS = 5
_OWN_FILE = re.compile(r"^https?://[^/?#]+(/(?:[^?#]*/)?data/(?:upload|local-files)/.*)$", re.IGNORECASE)
_TIMEOUT_S = 60.0
_TRIES = 3  # of another host than Label Studio, or of one file: neither is worth a whole job's patience


class _FileFails(Unavailable):
    """HTTP 500 of Label Studio for one file, as it answers for an uploaded file of which it knows nothing any more."""


@dataclass(slots=True)
class Images:
    """Fetches images for one project's tasks. Used in one event loop; ``close`` lets the connections go.

    studio      None where the server is not known or not allowed: then only full addresses can be fetched
    max_bytes   larger files are refused
    """

    studio: LabelStudio | None
    policy: HttpPolicy
    max_bytes: int
    _sessions: dict[str, aiohttp.ClientSession] = field(default_factory=dict)

    async def fetch(self, name: str, task_id: int, address: str) -> bytes:
        """The file. Raises BadFrame where only this image cannot be had, AccessDenied where Label Studio refuses the
        token and so every image of its own, and Transient where it does not answer at present."""
        scheme = address.partition(":")[0].lower() if ":" in address else ""
        if scheme == "data":
            return _inline(name, address)
        if scheme in BUCKETS:
            inside = base64.urlsafe_b64encode(address.encode()).decode()
            path = f"/tasks/{task_id}/resolve/?fileuri={quote(inside)}"
            return await self._get(name, self._base(name, address) + path)
        if scheme in ("http", "https"):
            return await self._get(name, self._from_here(address))
        if address.startswith("/"):
            base = self._base(name, address)
            if address.startswith(f"{urlsplit(base).path}/"):  # under a path prefix, uploads are named with it
                base = _origin(base)
            return await self._get(name, base + address)
        raise BadFrame(name, f"{name} is at {address[:100]!r}, which is no address.")

    def _from_here(self, address: str) -> str:
        """Where a full address leads to. Of its own files Label Studio gives the address that it has of itself, such as
        http://localhost:8080, which another container may not ask, and knows it by another name."""
        try:
            self.policy.check(address)
        except AccessDenied:
            own = _OWN_FILE.search(address)
            if own is not None and self.studio is not None:
                return _origin(self.studio.base_url) + own[1]
        except ValueError:  # said by ``_readable``
            pass
        return address

    def _base(self, name: str, address: str) -> str:
        if self.studio is None:
            raise BadFrame(
                name, f"{name} lies in Label Studio ({address[:60]}), whose address is not known: set LABEL_STUDIO_URL."
            )
        return self.studio.base_url

    async def _get(self, name: str, url: str) -> bytes:
        url, renewed = _readable(name, url), False
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._followed(name, url)
            except AccessDenied:
                if renewed or self.studio is None or not self.studio.renew():
                    raise
                renewed = True
            except Transient as error:
                if self._is_studio(url) and not isinstance(error, _FileFails):
                    raise
                if attempt == _TRIES:
                    raise BadFrame(name, f"{name} cannot be fetched: {error.message}") from None
                await asyncio.sleep(0.3 * attempt)
        raise AssertionError  # the loop returns or raises

    async def _followed(self, name: str, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    body, following = await self._step(name, url)
            except TimeoutError:
                raise Unavailable(f"{name} was not sent within {_TIMEOUT_S:g} s.") from None
            if body is not None:
                return body
            url = _readable(name, url, following)
        raise BadFrame(name, f"{name} is redirected more than {MAX_REDIRECTS} times.")

    async def _step(self, name: str, url: str) -> tuple[bytes | None, str]:
        """(the file, "") or (None, where it is). aiohttp's errors quote whole addresses, so they are not chained."""
        import aiohttp  # noqa: PLC0415  (heavy)

        headers: dict[str, str] = {}
        failure: PredictorError
        try:
            self._check(name, url)
            if self.studio is not None and self._is_studio(url):
                headers = await self.studio.authorization()
            async with self._session(url).get(url, headers=headers, allow_redirects=False) as response:
                if 300 <= response.status < 400 and response.headers.get("Location"):
                    return None, response.headers["Location"]
                if response.status == 200:
                    return await self._read(name, response), ""
                failure = self._refused(name, url, response.status, bool(headers))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and type(error) is TimeoutError:
                raise
            failure = self._translated(name, url, error)
        raise failure

    def _check(self, name: str, url: str) -> None:
        """Another host that may not be asked is this image's misfortune alone."""
        try:
            self.policy.check(url)
        except AccessDenied as error:
            raise BadFrame(name, f"{name} is not fetched: {error.message} {error.hint}") from error

    def _is_studio(self, url: str) -> bool:
        return self.studio is not None and _origin(url) == _origin(self.studio.base_url)

    def _session(self, url: str) -> aiohttp.ClientSession:
        """One for each host: the guard of its sockets depends on whether it is trusted."""
        origin = _origin(url)
        if origin not in self._sessions:
            self._sessions[origin] = self.policy.session(url)
        return self._sessions[origin]

    async def _read(self, name: str, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self.max_bytes:
                raise BadFrame(name, f"{name} is larger than {self.max_bytes // 2**20} MB.")
        return bytes(body)

    def _refused(self, name: str, url: str, status: int, with_token: bool) -> PredictorError:
        host = urlsplit(url).hostname or ""
        if status in (401, 403) and self._is_studio(url):
            what = "refuses the token" if with_token else "wants a token"
            hint = (
                "Set LABEL_STUDIO_API_KEY to a personal access token, or allow legacy tokens in Label Studio "
                "(Organization: Access Token Settings)."
            )
            return AccessDenied(f"Label Studio {what} for {name} (HTTP {status}).", hint=hint)
        if status == 429:
            return RateLimited(f"{host} asks us to slow down.", retry_after=None)
        if status == 500 and self._is_studio(url):
            return _FileFails("Label Studio fails at this file (HTTP 500). Does it show the image itself?")
        if status >= 500:
            return Unavailable(f"{host} failed on its side (HTTP {status}).")
        return BadFrame(name, f"{name} cannot be fetched: {host} answers HTTP {status}.")

    def _translated(self, name: str, url: str, error: Exception) -> PredictorError:
        host = urlsplit(url).hostname or ""
        if NOT_PUBLIC in str(error):
            refusal = self.policy.refusal(host)
            return BadFrame(name, f"{name} is not fetched: {refusal.message} {refusal.hint}")
        if isinstance(error, ValueError):
            return BadFrame(name, f"{name} has an address that cannot be asked.")
        return Unavailable(f"{host} cannot be reached ({type(error).__name__}).")

    async def close(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()


def _readable(name: str, url: str, following: str = "") -> str:
    """The address, or where a redirect leads from it. Raises BadFrame where it is none."""
    try:
        joined = urljoin(url, following)
        _ = urlsplit(joined).hostname, urlsplit(joined).port
    except ValueError:
        raise BadFrame(name, f"{name} has an address that cannot be asked.") from None
    return joined


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _inline(name: str, address: str) -> bytes:
    """The bytes of a ``data:`` URL. Raises BadFrame."""
    head, _, body = address.partition(",")
    try:
        found = base64.b64decode(body, validate=True) if head.endswith(";base64") else b""
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise BadFrame(name, f"{name} is a data: URL that is not base64.")
    return found
