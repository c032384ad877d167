"""A file from a web server: through the guarded network, resumed where it broke off, bounded, and checked by its hash.

Redirects are followed, since hosts of files hand out the bytes elsewhere; each address is checked like the first, and
a key goes to the first host alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import filelock

from adapters.base import DownloadProgress
from adapters.errors import (
    AccessDenied,
    BadOutput,
    ModelNotFound,
    PredictorError,
    PredictTimeout,
    RateLimited,
    Unavailable,
    Unsupported,
)
from adapters.file_content import HEAD_BYTES, check_head
from adapters.http_caller import retry_after_seconds
from adapters.network import NOT_PUBLIC, HttpPolicy

if TYPE_CHECKING:
    import aiohttp

_IDLE_S = 30.0  # to connect, and between two chunks
_TRIES = 5  # in a row without a single new byte
_REDIRECTS = 5
_PATIENCE_S = 120.0  # after which a file that comes at fewer bytes a second is not waited for
_LEAST_BYTES_PER_S = 1000.0


@dataclass(frozen=True, slots=True)
class WebFile:
    """``sha256``: 64 lower-case hex digits, or empty where the first download is to say. ``key`` never leaves ``url``'s
    host: ``user:password``, or a token."""

    url: str
    sha256: str
    key: str | None = None

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


async def download(
    file: WebFile,
    target: Path,
    policy: HttpPolicy,
    progress: Callable[[DownloadProgress], None],
    *,
    most_bytes: int,
) -> str:
    """Make ``target`` the file, which appears at once and whole or not at all; its SHA-256.

    What an earlier call left is resumed. Raises PredictorError: Unsupported for a pickle, BadOutput where the content
    is not what the digest says, PredictTimeout where it would take for ever.
    """
    policy.check(file.url)
    progress = _not_dripping(file, progress)
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    async with filelock.AsyncFileLock(f"{partial}.lock"):  # another process may want it too
        if await asyncio.to_thread(target.exists):
            digest = await _digest(target)
            if file.sha256 in ("", digest):
                return digest
            await asyncio.to_thread(target.unlink)  # damaged since
        failures = 0
        while True:
            before = await asyncio.to_thread(_size, partial)
            try:
                await _append(file, partial, policy, progress, most_bytes)
                break
            except Unavailable:
                failures = 0 if await asyncio.to_thread(_size, partial) > before else failures + 1
                if failures >= _TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**failures)
        digest = await _digest(partial)
        if file.sha256 and digest != file.sha256:
            await asyncio.to_thread(partial.unlink)
            raise BadOutput(
                f"{file.name} from {file.host} is not the file that its SHA-256 names: its own is {digest}.",
                hint="Somebody has changed the file, or the digest is another one's. Check both before you trust it.",
            )
        await asyncio.to_thread(partial.replace, target)
    return digest


def _not_dripping(file: WebFile, progress: Callable[[DownloadProgress], None]) -> Callable[[DownloadProgress], None]:
    """``progress``, which raises PredictTimeout where a host sends just enough to be waited for."""
    began, came = time.monotonic(), 0
    last: int | None = None

    def note(now: DownloadProgress) -> None:
        nonlocal came, last
        came += 0 if last is None else max(0, now.done_bytes - last)  # what an earlier call left did not come now
        last = now.done_bytes
        took = time.monotonic() - began
        if took > _PATIENCE_S and came / took < _LEAST_BYTES_PER_S:
            raise PredictTimeout(
                f"{file.host} sends {file.name} at less than {_LEAST_BYTES_PER_S:g} bytes a second.",
                hint="Download the file by other means and give its path, or try again later.",
            )
        progress(now)

    return note


async def _append(
    file: WebFile, partial: Path, policy: HttpPolicy, progress: Callable[[DownloadProgress], None], most: int
) -> None:
    """Ask for what is missing of ``partial`` and write it as it comes. Raises Unavailable where it breaks off."""
    done = await asyncio.to_thread(_size, partial)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    async with _answered(file, policy, headers) as response:
        if response.status == 416:  # nothing is missing, or another file is there now: the digest tells
            if response.headers.get("Content-Range", "").rpartition("/")[2] == str(done):
                return
            await asyncio.to_thread(partial.unlink)
            raise Unavailable(f"{file.host} holds another {file.name} than before; it is fetched anew.")
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0
        total = done + (response.content_length or 0)
        if total > most:
            raise _too_large(file, most)
        try:
            done = await _write(file, response, partial, done, total, most, progress)
        except _network_errors() as error:
            raise Unavailable(f"The download of {file.name} from {file.host} broke off.") from error
        if done < total:
            raise Unavailable(f"The download of {file.name} broke off at {done} of {total} bytes.")


async def _write(
    file: WebFile,
    response: aiohttp.ClientResponse,
    partial: Path,
    done: int,
    total: int,
    most: int,
    progress: Callable[[DownloadProgress], None],
) -> int:
    """How many bytes ``partial`` has at the end. Its first ones decide whether the rest is wanted."""
    out = await asyncio.to_thread(partial.open, "ab" if done else "wb")
    # The .bin of an OpenVINO model is numbers alone, which may begin like anything; it is read as numbers, too.
    head = b"" if not done and not file.name.lower().endswith(".bin") else None
    try:
        async for chunk in response.content.iter_any():  # as it comes; gathering would lose the last at a cut
            if head is not None:
                head += chunk[:HEAD_BYTES]
                if len(head) >= HEAD_BYTES:
                    check_head(head, file.name, file.host)
                    head = None
            done += len(chunk)
            if done > most:
                raise _too_large(file, most)
            await asyncio.to_thread(out.write, chunk)
            progress(DownloadProgress(file.name, done, max(done, total)))
        if head is not None:
            check_head(head, file.name, file.host)
    except (BadOutput, Unsupported):
        await asyncio.to_thread(out.close)
        await asyncio.to_thread(partial.unlink, missing_ok=True)
        raise
    finally:
        await asyncio.to_thread(out.close)
    return done


@asynccontextmanager
async def _answered(
    file: WebFile, policy: HttpPolicy, headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer with the bytes, behind at most so many redirects."""
    import aiohttp  # noqa: PLC0415  (heavy)

    url = file.url
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_IDLE_S, sock_read=_IDLE_S)
    for _ in range(_REDIRECTS + 1):
        policy.check(url)
        own = urlsplit(url)[:2] == urlsplit(file.url)[:2]
        sent = headers | ({"Authorization": _authorization(file.key)} if file.key and own else {})
        async with policy.session(url) as session:
            try:
                response = await session.get(url, headers=sent, allow_redirects=False, timeout=timeout)
            except _network_errors() as error:
                raise _unreached(error, url, policy) from None  # aiohttp quotes addresses
            async with response:
                where = response.headers.get("Location", "")
                if response.status in (301, 302, 303, 307, 308) and where:
                    url = _following(file, url, where)
                    continue
                if response.status not in (200, 206, 416):
                    raise _refused(file, response)
                yield response
                return
    raise PredictorError(f"{file.host} redirects {file.name} from one address to the next.", hint="Is it gone?")


def _following(file: WebFile, url: str, where: str) -> str:
    """Where a redirect leads. Raises PredictorError where that is no address."""
    try:
        joined = urljoin(url, where)
        parts = urlsplit(joined)
        _ = parts.port, (parts.hostname or "").encode("idna"), joined.encode()
    except ValueError:
        raise PredictorError(f"{file.host} redirects {file.name} to what is no address.", hint="Is it gone?") from None
    return joined


def _authorization(key: str) -> str:
    """``user:password`` as Basic, a token as Bearer."""
    return f"Basic {base64.b64encode(key.encode()).decode()}" if ":" in key else f"Bearer {key}"


def _unreached(error: Exception, url: str, policy: HttpPolicy) -> PredictorError:
    host = urlsplit(url).hostname or ""
    if NOT_PUBLIC in str(error):
        return policy.refusal(host)
    hint = "Check the address and the network; behind a proxy, set HTTPS_PROXY."
    return Unavailable(f"{host} cannot be reached ({type(error).__name__}).", hint=hint)


def _refused(file: WebFile, response: aiohttp.ClientResponse) -> PredictorError:
    status, host = response.status, file.host
    if status in (401, 403):
        hint = f"Store a key for it: hubbridge connection add https --host {host}"
        return AccessDenied(f"{host} refuses {file.name} (HTTP {status}).", hint=hint)
    if status in (404, 410):
        return ModelNotFound(f"{host} has no {file.name} at this address.", hint="Look for where it has moved.")
    wait = retry_after_seconds(response.headers.get("Retry-After", ""), datetime.now(UTC))
    if status == 429:
        return RateLimited(f"{host} asks us to slow down.", retry_after=wait)
    if status >= 500:
        return Unavailable(f"{host} failed on its side (HTTP {status}).", retry_after=wait)
    return PredictorError(f"{host} refuses {file.name} (HTTP {status}).")


def _too_large(file: WebFile, most: int) -> Unsupported:
    return Unsupported(f"{file.name} is larger than the {most / 2**20:,.0f} MB that a model file may have.")


def _network_errors() -> tuple[type[Exception], ...]:
    import aiohttp  # noqa: PLC0415  (heavy)

    return aiohttp.ClientError, OSError  # a time-out is an OSError


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _digest(path: Path) -> str:
    def read() -> str:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    return await asyncio.to_thread(read)
