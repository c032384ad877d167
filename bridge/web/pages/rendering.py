"""Templates and what each of them is given; headers of every page; who looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from bridge.errors import BridgeError
from bridge.web.authentication import current_principal
from bridge.web.pages.static import static_files

TEMPLATES = Path(__file__).parents[1] / "templates"
HEADERS: Mapping[str, str] = {
    # No inline script and no inline style. Images: frames from here, and files that the user has just dropped.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What a page's handler answers: a template and its values. ``section`` is lit up in the navigation."""

    template: str
    title: str
    section: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page. ``name`` is None where the service stands open; then there is no session to protect."""

    name: str | None = None
    csrf_token: str | None = None


def visitor_now() -> Visitor:
    """Who asked for the page that is being rendered; the one place where pages learn it."""
    principal = current_principal()
    return Visitor(principal.name, principal.csrf or None) if principal.token_id is not None else Visitor()


def render(request: web.Request, page: Page) -> web.Response:
    text = (
        _environment()
        .get_template(page.template)
        .render(page=page, visitor=visitor_now(), path=request.path, query=request.query, **page.values)
    )
    return web.Response(text=text, status=page.status, content_type="text/html", headers=HEADERS)


def render_alone(template: str, values: Mapping[str, Any], status: int = 200) -> web.Response:
    """A page outside of the frame that the others share."""
    text = _environment().get_template(template).render(values)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def error_page(request: web.Request, error: BridgeError) -> web.Response:
    """An error for people, with its hint."""
    titles = {400: "That cannot be shown", 403: "Not allowed", 404: "Not found", 503: "Not available at present"}
    title = titles.get(error.status, "Something went wrong")
    return render(request, Page("error.html", title, "", {"error": error}, status=error.status))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"number": _number, "moment": _moment, "bytes": _bytes, "json": _json, "many": _many}
    environment.globals |= {"static": static_files().url, "version": version("hubbridge")}
    return environment


def _number(value: float) -> str:
    """12 345, with a thin space that does not break."""
    return f"{value:,}".replace(",", "\u202f")


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{_number(count)} {one if count == 1 else several or one + 's'}"


def _moment(value: datetime) -> str:
    """For ``<time datetime>``; the browser shows it in its own zone."""
    return value.astimezone(UTC).isoformat(timespec="seconds")


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f} {unit}"
    return f"{count} B"


def _json(value: Any) -> str:
    """For an attribute that a module reads; the template escapes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
