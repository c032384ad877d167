"""The page that a browser logs in with, and the way out. It needs no script."""

from __future__ import annotations

from aiohttp import web
from yarl import URL

from bridge.domain import Scope
from bridge.errors import TooManyRequests, Unauthorized
from bridge.web.authentication import COOKIE, current_principal, needs
from bridge.web.pages.rendering import render_alone
from bridge.web.reading import read_form
from bridge.web.state import STATE

MOST_NEXT = 2_000


def wants_login(request: web.Request, error: Exception) -> bool:
    """Whether a refusal should lead a person to the login page: a browser that opens a page, not a program."""
    navigates = "text/html" in request.headers.get("Accept", "")
    return isinstance(error, Unauthorized) and request.method == "GET" and navigates


def to_login(request: web.Request) -> web.Response:
    """Lead to the login page, and from there back."""
    location = URL("/login").with_query({"next": request.path_qs[:MOST_NEXT]})
    return web.Response(status=303, headers={"Location": str(location)})


def local_path(given: str) -> str:
    """Where to go after the login: a path of this server, or ``/`` where ``given`` is anything else."""
    fits = given.startswith("/") and given.isprintable() and given.isascii() and len(given) <= MOST_NEXT
    if not fits or given.startswith("//") or "\\" in given or given.partition("?")[0] == "/login":
        return "/"
    return given


@needs(Scope.OPEN)
async def show_login(request: web.Request) -> web.StreamResponse:
    following = local_path(request.query.get("next", "/"))
    # What anyone may ask is answered without the database, so the principal may be that of a moment ago.
    if await request.app[STATE].auth.stands_open() or current_principal().token_id is not None:
        return web.Response(status=303, headers={"Location": following})
    return _page(following)


@needs(Scope.OPEN)
async def log_in(request: web.Request) -> web.StreamResponse:
    form = await read_form(request)
    following = local_path(form.get("next", "/"))
    auth = request.app[STATE].auth
    try:
        session = await auth.log_in(request, form.get("token", ""))
    except (Unauthorized, TooManyRequests) as error:
        response = _page(following, error.message, error.status)
        if isinstance(error, TooManyRequests):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response
    response = web.Response(status=303, headers={"Location": following})
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(auth.tokens.session_s),
        path="/",
        httponly=True,
        samesite="Lax",
        secure=auth.is_over_tls(request),
    )
    return response


@needs(Scope.OPEN)
async def log_out(request: web.Request) -> web.StreamResponse:
    await request.app[STATE].auth.log_out(request)
    response = web.Response(status=303, headers={"Location": "/login"})
    response.del_cookie(COOKIE, path="/")
    return response


def _page(following: str, error: str = "", status: int = 200) -> web.Response:
    return render_alone("login.html", {"following": following, "error": error}, status)
