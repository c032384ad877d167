"""Style sheets, modules and fonts of the pages, served from the package.

Their paths hold a hash of all of them together, so that relative imports of modules stay within one version, and a
browser keeps what it has for as long as it likes.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aiohttp import web

from bridge.domain import Scope
from bridge.web.authentication import needs

ROOT = Path(__file__).parents[1] / "static"
PREFIX = "/static"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """``files``: path below the folder -> content. ``version``: hash of all of it."""

    files: Mapping[str, bytes]
    version: str

    def url(self, path: str) -> str:
        """Where a file of this version is. Raises KeyError for one that is not there."""
        self.files[path]
        return f"{PREFIX}/{self.version}/{path}"


@cache
def static_files() -> StaticFiles:
    """Read once; a few hundred kilobytes."""
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted(ROOT.rglob("*")) if path.is_file()}
    whole = hashlib.sha256()
    for path, content in files.items():
        whole.update(f"{path} {len(content)}\n".encode() + content)
    return StaticFiles(files, whole.hexdigest()[:16])


@needs(Scope.OPEN)
async def serve_static(request: web.Request) -> web.Response:
    """A file of this version for a year; under another version's name what is here now, not to be kept."""
    static = static_files()
    path = request.match_info["path"]
    if path not in static.files:
        raise web.HTTPNotFound
    current = request.match_info["version"] == static.version
    suffix = Path(path).suffix
    kind = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    kept = "public, max-age=31536000, immutable" if current else "no-cache"
    charset = "utf-8" if kind.startswith("text/") else None
    return web.Response(body=static.files[path], content_type=kind, charset=charset, headers={"Cache-Control": kept})
