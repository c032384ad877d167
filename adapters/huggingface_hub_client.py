"""Talking to the Hugging Face Hub: what a model is, and its files, whole and checked. Blocks; call it in threads.

The hub's own client asks for the model and names every error. Files are fetched through the client's HTTP session by
our own code, because the client starts a broken download anew in the next process, does not check content hashes, and
follows redirects to any address.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub import HfApi, ModelInfo, get_session, hf_hub_url
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, though not in its __all__
    WeakFileLock,
    build_hf_headers,
    hf_raise_for_status,
)

from adapters.base import DownloadProgress
from adapters.errors import BadOutput, PredictorError, Unavailable
from adapters.huggingface_config import ModelFile
from adapters.huggingface_hub_errors import Asked, translate_hub_error
from adapters.network import HttpPolicy

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 15.0  # to connect, and between two chunks
_CHUNK = 1 << 20
_REDIRECTS = 5
_MOST_TEXT = 16 * 2**20  # bytes of a file that is read as a whole
_TRIES = 5  # in a row without a single new byte


class Stopped(Exception):
    """The caller does not want the file any more."""


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub as one account sees it. Every method raises PredictorError, in one plain sentence."""

    endpoint: str
    token: str | None = None
    policy: HttpPolicy = field(default_factory=HttpPolicy)

    def model_info(self, repo_id: str, revision: str | None) -> ModelInfo:
        """What the model's page says, with sizes and hashes of its files; ``sha`` is a commit."""
        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        with self._named_errors(repo_id, revision):
            info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
        if not _COMMIT.fullmatch(info.sha or ""):
            raise BadOutput(f"{self.endpoint} names no commit of {repo_id}.", hint="Check HF_ENDPOINT.")
        return info

    def inference_status(self, repo_id: str) -> dict[str, str] | None:
        """Inference provider -> ``live``, ``staging`` or ``error``, for those behind the router that know the model.
        None from a hub that says nothing of them."""
        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        with self._named_errors(repo_id, None):
            info = api.model_info(repo_id, expand=["inferenceProviderMapping"], timeout=_TIMEOUT_S)
            if info.inference_provider_mapping is None:
                return None
            return {str(each.provider): str(each.status) for each in info.inference_provider_mapping}

    def read(self, repo_id: str, commit: str, path: str) -> bytes:
        """A small file."""
        with (
            self._named_errors(repo_id, commit, path),
            self._answer(self._url(repo_id, commit, path), self._headers()) as response,
        ):
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MOST_TEXT:
                    raise BadOutput(f"{path} of {repo_id} has more than the {_MOST_TEXT // 2**20} MB of a small file.")
            return bytes(content)

    def fetch(
        self,
        repo_id: str,
        commit: str,
        file: ModelFile,
        target: Path,
        progress: Callable[[DownloadProgress], None],
        stop: threading.Event,
    ) -> None:
        """Make ``target`` the file, with the size and hash that the hub named. What an earlier call left is resumed.

        ``target`` appears at once and whole, or not at all. Raises Stopped soon after ``stop`` is set.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        with WeakFileLock(partial.with_name(partial.name + ".lock")):  # another process may want it too
            if target.exists() and target.stat().st_size == file.size:
                return
            url, failures = self._url(repo_id, commit, file.path), 0
            while not partial.exists() or partial.stat().st_size != file.size:
                before = partial.stat().st_size if partial.exists() else -1
                try:
                    with self._named_errors(repo_id, commit, file.path):
                        self._append(url, file, partial, progress, stop)
                except Unavailable:
                    after = partial.stat().st_size if partial.exists() else -1
                    failures = 0 if after > before else failures + 1
                    if failures >= _TRIES:
                        raise
                    if stop.wait(0.1 * 2**failures):
                        raise Stopped from None
            _check_hash(file, partial)
            partial.replace(target)

    def _append(
        self,
        url: str,
        file: ModelFile,
        partial: Path,
        progress: Callable[[DownloadProgress], None],
        stop: threading.Event,
    ) -> None:
        """Ask for what is missing of ``partial`` and write it as it comes."""
        done = partial.stat().st_size if partial.exists() else 0
        if done > file.size:
            partial.unlink()
            done = 0
        headers = self._headers() | {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with self._answer(url, headers) as response:
            if response.status_code != 206:
                done = 0
            with partial.open("ab" if done else "wb") as out:
                for chunk in response.iter_bytes():  # as it comes; gathering chunks would lose the last at a cut
                    if stop.is_set():
                        raise Stopped
                    out.write(chunk)
                    done += len(chunk)
                    if done > file.size:
                        raise BadOutput(f"The hub sent more of {file.path} than the {file.size} bytes that it named.")
                    progress(DownloadProgress(file.path, done, file.size))
        if done < file.size:
            raise Unavailable(f"The download of {file.path} broke off at {done} of {file.size} bytes.")

    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """The answer behind a few redirects: hubs keep large files elsewhere. Each is checked as a pasted address is,
        and the token goes to the hub alone. (Any: which HTTP library answers is the hub client's business.)"""
        for _ in range(_REDIRECTS + 1):
            own = urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]
            if not own:
                self.policy.check_resolved(url)
            sent = {name: value for name, value in headers.items() if own or name.lower() != "authorization"}
            with get_session().stream("GET", url, headers=sent, timeout=_TIMEOUT_S, follow_redirects=False) as response:
                if response.has_redirect_location:
                    url = urljoin(url, response.headers["Location"])
                    continue
                stream = response.extensions.get("network_stream")
                if not own and stream is not None:
                    self.policy.check_peer(url, stream.get_extra_info("server_addr")[0])
                if response.status_code >= 400:
                    response.read()
                hf_raise_for_status(response)
                yield response
                return
        raise BadOutput("The hub redirects from one address to the next.", hint="Check HF_ENDPOINT.")

    def _url(self, repo_id: str, commit: str, path: str) -> str:
        return hf_hub_url(repo_id, path, revision=commit, endpoint=self.endpoint)

    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(token=self.token or False))

    @contextmanager
    def _named_errors(self, repo_id: str, revision: str | None, path: str = "") -> Iterator[None]:
        try:
            yield
        except (PredictorError, Stopped):
            raise
        except Exception as error:
            asked = Asked(self.endpoint, bool(self.token), repo_id, revision, path)
            raise translate_hub_error(error, asked) from error


def _check_hash(file: ModelFile, partial: Path) -> None:
    """Raises BadOutput, and throws the file away, where its content is not what the hub named."""
    if file.sha256:
        digest, expected = _hash_file(partial, hashlib.sha256()), file.sha256
    elif file.git_sha1:
        header = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)  # how git names a file's content
        digest, expected = _hash_file(partial, header), file.git_sha1
    else:
        return
    if digest != expected:
        partial.unlink()
        raise BadOutput(f"What was downloaded as {file.path} is not what the hub named.", hint="Download it again.")


def _hash_file(path: Path, digest: Any) -> str:
    """``digest`` updated with the file's content, as lower-case hex digits."""
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return str(digest.hexdigest())
