"""The page that a browser logs in with, and the way out. The answers need no script and fetch nothing."""

from __future__ import annotations

from html import escape

from aiohttp import web
from yarl import URL

from bridge.domain import Scope
from bridge.errors import TooManyRequests, Unauthorized
from bridge.web.authentication import COOKIE, CSRF_FIELD, current_principal, needs
from bridge.web.reading import read_form
from bridge.web.state import STATE

MOST_NEXT = 2_000
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:12vh auto 0;max-width:26rem;padding:1rem;color:#1c2430;background:#fff}
label{display:block;font-weight:600}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.3rem 0 1rem}
button{font:inherit;padding:.5rem 1.2rem;cursor:pointer}.error{color:#b3261e}code{font:14px ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#dfe5ec}.error{color:#ff8a80}}
"""


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


def logout_form() -> str:
    """A button for pages; empty where nobody is logged in."""
    csrf = current_principal().csrf
    if not csrf:
        return ""
    field = f'<input type="hidden" name="{CSRF_FIELD}" value="{escape(csrf)}">'
    return f'<form method="post" action="/logout">{field}<button>Log out</button></form>'


def _page(following: str, error: str = "", status: int = 200) -> web.Response:
    said = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    text = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in - Hubbridge</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>
<h1>Hubbridge</h1>{said}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{escape(following)}"><button>Log in</button></form>
<p>Whoever runs this server makes one:<br><code>hubbridge token create NAME --scope annotate</code></p>
</body></html>"""
    return web.Response(status=status, text=text, content_type="text/html", headers={"Content-Security-Policy": POLICY})
