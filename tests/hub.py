"""A Hugging Face Hub on the loopback interface: folders served as repositories, as the real hub's wire has it.

The hub's own client runs against it unchanged. Every answer that the real one gives for a missing, private, gated,
disabled or renamed model is given here too, and faults can be ordered: garbage, a cut connection, 429, 500.

    python -m tests.hub FOLDER [--port 8765]      # serves FOLDER as demo/NAME, to try the program by hand
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

TOKEN = "hf_aTokenThatMayReadEverything"
STRANGER = "hf_aTokenThatMayReadWhatIsOpen"
LARGE = 10_000  # bytes; from here on a file lies behind a redirect, as LFS files do
PAGE = 3  # entries of a tree's page


@dataclass
class Repository:
    """One model. ``gated`` is the hub's ``auto`` or ``manual``; ``moved_to`` makes it a redirect to another id."""

    folder: Path
    pipeline_tag: str | None = "object-detection"
    licence: str | None = "apache-2.0"
    private: bool = False
    gated: str | None = None
    disabled: bool = False
    moved_to: str | None = None
    branches: tuple[str, ...] = ("main",)
    served: str | None = None  # its status at the Inference API: live, staging, error

    @property
    def files(self) -> dict[str, Path]:
        return {p.relative_to(self.folder).as_posix(): p for p in sorted(self.folder.rglob("*")) if p.is_file()}

    @property
    def commit(self) -> str:
        content = "".join(f"{path} {_sha256(file.read_bytes())}\n" for path, file in self.files.items())
        return hashlib.sha1(content.encode()).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision in self.branches or revision == self.commit


@dataclass
class Fault:
    """What goes wrong for the next ``times`` requests whose path holds ``where``: garbage, cut, 429 or 500."""

    where: str
    kind: str
    times: int = 1


@dataclass
class Seen:
    method: str
    path: str
    range: str | None
    authorised: bool


@dataclass
class HubServer:
    """A context manager: inside it, ``url`` answers. ``seen`` holds every request."""

    repositories: dict[str, Repository]
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> HubServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="hub", daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the hub did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, where: str, method: str = "GET") -> int:
        return sum(each.method == method and where in each.path for each in self.seen)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.run(self._run(ready))

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.split("?")[0]
        authorised = "Authorization" in request.headers
        self.seen.append(Seen(request.method, unquote(path), request.headers.get("Range"), authorised))
        fault = next((f for f in self.faults if f.times and f.where in unquote(path)), None)
        if fault:
            fault.times -= 1
            if fault.kind != "cut":
                return _broken(fault.kind)
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "cdn":
            return await self._send_content(request, parts[1], cut=fault is not None)
        return await self._answer_repository(request, parts, cut=fault is not None)

    async def _answer_repository(self, request: web.Request, parts: list[str], cut: bool) -> web.StreamResponse:
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        verb_at = next((i for i, part in enumerate(parts) if i and part in ("revision", "tree", "resolve")), len(parts))
        repo_id, verb, rest = "/".join(parts[:verb_at]), parts[verb_at : verb_at + 1], parts[verb_at + 1 :]
        repository = self.repositories.get(repo_id)
        refusal = self._refuse(request, repository, to_files=not api)
        if refusal is not None:
            return refusal
        assert repository is not None
        if repository.moved_to:
            place = request.raw_path.replace(quote(repo_id), quote(repository.moved_to), 1)
            return web.Response(status=307, headers={"Location": place})
        revision = rest[0] if rest else "main"
        if not repository.knows(revision):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb == ["tree"]:
            return self._tree(request, repository)
        if verb == ["resolve"]:
            return await self._resolve(request, repository, "/".join(rest[1:]), cut)
        if "inferenceProviderMapping" in request.query.getall("expand", []):
            return web.json_response({"_id": "1", "id": repo_id, "inferenceProviderMapping": _providers(repository)})
        return web.json_response(_info(repo_id, repository, blobs=request.query.get("blobs") == "true"))

    def _refuse(self, request: web.Request, repository: Repository | None, to_files: bool) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN, STRANGER):
            return _error(401, None, "Invalid credentials in Authorization header")
        if repository is None or (repository.private and token != TOKEN):
            if token:
                return _error(404, "RepoNotFound", "Repository not found")
            return _error(401, None, "Invalid username or password.")
        if repository.disabled:
            return _error(403, None, "Access to this resource is disabled.")
        if repository.gated and to_files and token != TOKEN:
            return _error(403 if token else 401, "GatedRepo", "Access to this model is restricted.")
        return None

    def _tree(self, request: web.Request, repository: Repository) -> web.Response:
        entries = [_tree_entry(path, file) for path, file in repository.files.items()]
        start = int(request.query.get("cursor", "0"))
        headers = {}
        if start + PAGE < len(entries):
            following = request.url.update_query(cursor=str(start + PAGE))
            headers["Link"] = f'<{following}>; rel="next"'
        return web.json_response(entries[start : start + PAGE], headers=headers)

    async def _resolve(self, request: web.Request, repository: Repository, path: str, cut: bool) -> web.StreamResponse:
        file = repository.files.get(path)
        if file is None:
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
        content = file.read_bytes()
        headers = {"X-Repo-Commit": repository.commit}
        if len(content) < LARGE:
            return await self._send(request, content, headers | {"ETag": f'"{_blob_id(content)}"'}, cut)
        digest = _sha256(content)
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # Another host name for the same port: a client that sends its token there as well is caught.
        location = {"Location": f"http://localhost:{self.port}/cdn/{digest}"}
        return web.Response(status=302, headers=headers | linked | location)

    async def _send_content(self, request: web.Request, digest: str, cut: bool) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return web.Response(status=400, text="a token was sent to the storage host")
        for repository in self.repositories.values():
            for file in repository.files.values():
                if _sha256(content := file.read_bytes()) == digest:
                    return await self._send(request, content, {"ETag": f'"{digest}"'}, cut)
        return web.Response(status=404)

    async def _send(
        self, request: web.Request, content: bytes, headers: dict[str, str], cut: bool
    ) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start >= len(content) > 0:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        part = content[start:]
        status = 206 if start else 200
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        response = web.StreamResponse(status=status, headers=headers | span | {"Content-Length": str(len(part))})
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await response.write(part[: len(part) // 2] if cut else part)
        if cut:
            await asyncio.sleep(0.05)  # what was written leaves before the connection breaks
            assert request.transport is not None
            request.transport.abort()
        return response


def _broken(kind: str) -> web.Response:
    match kind:
        case "429":
            return web.Response(status=429, headers={"Retry-After": "7"}, text="slow down")
        case "500":
            return web.Response(status=500, text="oops")
        case "garbage":
            return web.Response(text="<html>Welcome to the airport's network</html>", content_type="text/html")
    raise ValueError(kind)


def _error(status: int, code: str | None, message: str, more: dict[str, str] | None = None) -> web.Response:
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {}) | (more or {})
    return web.json_response({"error": message}, status=status, headers=headers)


def _info(repo_id: str, repository: Repository, blobs: bool) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for path, file in repository.files.items():
        entry = _tree_entry(path, file)
        siblings.append({"rfilename": path})
        if blobs:
            siblings[-1] |= {"size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                siblings[-1]["lfs"] = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 134}
    return {
        "_id": "1",
        "id": repo_id,
        "modelId": repo_id,
        "sha": repository.commit,
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": repository.disabled,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "siblings": siblings,
        **({"pipeline_tag": repository.pipeline_tag} if repository.pipeline_tag else {}),
        **({"cardData": {"license": repository.licence}} if repository.licence else {}),
    }


def _providers(repository: Repository) -> dict[str, Any]:
    if repository.served is None:
        return {}
    return {"hf-inference": {"status": repository.served, "providerId": "x", "task": repository.pipeline_tag}}


def _tree_entry(path: str, file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    entry: dict[str, Any] = {"type": "file", "oid": _blob_id(content), "size": len(content), "path": path}
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return entry


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder as a model of a Hugging Face Hub, on this machine.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    repo_id = f"demo/{args.folder.resolve().name}"
    with HubServer({repo_id: Repository(args.folder)}, port=args.port) as hub:
        print(json.dumps({"HF_ENDPOINT": hub.url, "model": repo_id}), flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
