"""Who is calling, and whether that is enough for the route: tokens, sessions, Basic authentication, or an open service.

A route has a scope. A request is let through where its principal's scope covers it; `authorize` runs before every
handler, also of routes outside of the route table, which declare theirs with `needs`. What declares nothing is for
administrators only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiohttp import web

from bridge.domain import ApiToken, Scope
from bridge.errors import BridgeError, Forbidden, InvalidRequest, Unauthorized
from bridge.settings import Settings
from bridge.tokens import Tokens, csrf_token, digest
from bridge.web.attempts import FailedAttempts, network_of
from bridge.web.guard import SAFE_METHODS, check_origin, is_loopback
from bridge.web.reading import FORM, read_form

COOKIE = "hubbridge_session"
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
_SCOPE = "__hubbridge_scope__"
_MOST_CREDENTIALS = 500  # characters; ours have some 53

H = TypeVar("H", bound=Callable[[web.Request], Awaitable[web.StreamResponse]])


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. ``csrf`` is what this browser's pages send back in X-CSRF-Token; empty outside of a session."""

    name: str
    scope: Scope
    token_id: int | None = None
    csrf: str = ""


NOBODY = Principal("", Scope.OPEN)
EVERYBODY = Principal("everybody on this machine", Scope.ADMIN)
_principal: ContextVar[Principal] = ContextVar("principal", default=NOBODY)


def current_principal() -> Principal:
    """Who sent the request that is being answered. Pages show ``name``, and put ``csrf`` into their meta csrf-token."""
    return _principal.get()


def needs(scope: Scope) -> Callable[[H], H]:
    """Declare the scope of a handler."""

    def mark(handler: H) -> H:
        setattr(handler, _SCOPE, scope)
        return handler

    return mark


def scope_of(handler: object) -> Scope | None:
    """The scope that a handler declares."""
    scope: Scope | None = getattr(handler, _SCOPE, None)
    return scope


class Authentication:
    """The checks of one server. ``serves_beyond``: other machines can reach it."""

    def __init__(self, tokens: Tokens, settings: Settings, *, attempts: FailedAttempts | None = None) -> None:
        self.tokens = tokens
        self.attempts = attempts or FailedAttempts()
        self.serves_beyond = False
        self._is_open = False
        self._mode = settings.auth.mode
        self._public = settings.server.public_url.rstrip("/").lower()
        self._proxies = tuple(ipaddress.ip_network(each, strict=False) for each in settings.server.trusted_proxies)

    async def listen_at(self, host: str) -> None:
        """Note where the server will listen. Raises InvalidRequest where others could reach it and nobody is asked."""
        self.serves_beyond = not is_loopback(host)
        self._is_open = await self.stands_open()
        if (
            not self.serves_beyond
            or self._mode == "required"
            or (self._mode == "auto" and await self.tokens.any_lives())
        ):
            return
        raise InvalidRequest(
            f"Hubbridge does not serve at {host[:100]} without authentication: everyone who reaches it could use it.",
            hint="Make a token first: hubbridge token create NAME --scope admin. [auth] mode must not be open."
            if self._mode == "auto"
            else "[auth] mode is open; set it to auto or required.",
            code="needs_authentication",
        )

    async def stands_open(self) -> bool:
        """Whether everybody who reaches the service may do everything."""
        if self.serves_beyond or self._mode == "required":
            return False
        return self._mode == "open" or not await self.tokens.any_made()

    async def authorize(self, request: web.Request, scope: Scope) -> Principal:
        """Let the request through or refuse it. Raises Unauthorized, Forbidden or TooManyRequests."""
        _principal.set(NOBODY)  # a connection's requests share a context
        required = scope is not Scope.OPEN
        if required:  # what anyone may ask is answered without the database, by what was so a moment ago
            self._is_open = await self.stands_open()
        check_origin(request, is_open=self._is_open, public_url=self._public)
        principal = EVERYBODY if self._is_open else await self._identify(request, required=required)
        _principal.set(principal)
        structlog.contextvars.bind_contextvars(caller=principal.name or "nobody")
        if not principal.scope.covers(scope):
            if principal is NOBODY:
                raise Unauthorized(
                    "This needs a token.",
                    hint="Send Authorization: Bearer TOKEN, or log in at /login. `hubbridge token create` makes one.",
                )
            raise Forbidden(
                f"This needs the scope {scope}; the token {principal.name!r} has {principal.scope}.",
                hint=f"Make one that may: hubbridge token create NAME --scope {scope}.",
            )
        if principal.csrf and request.method not in SAFE_METHODS:
            await _check_csrf(request, principal.csrf)
        return principal

    async def log_in(self, request: web.Request, text: str) -> str:
        """The secret of a new session for who knows a token's text. Raises Unauthorized or TooManyRequests."""
        return await self.tokens.open_session(await self._known(request, "token", text.strip()))

    async def log_out(self, request: web.Request) -> None:
        await self.tokens.close_session(request.cookies.get(COOKIE, ""))

    def is_over_tls(self, request: web.Request) -> bool:
        """Whether the browser speaks TLS, if only to a proxy. A claim of it can only make a cookie stricter."""
        forwarded = request.headers.get("X-Forwarded-Proto", "").lower() == "https"
        return request.secure or forwarded or self._public.startswith("https:")

    async def _identify(self, request: web.Request, *, required: bool) -> Principal:
        """Who sends the request; NOBODY without credentials. Wrong ones are refused where any are required."""
        session = request.cookies.get(COOKIE, "")
        try:
            text = token_of(request)
            if text is None and not session:
                return NOBODY
            if text is not None:
                token = await self._known(request, "token", text)
                return Principal(token.name, token.scope, token.id)
            token = await self._known(request, "session", session)
            return Principal(token.name, token.scope, token.id, csrf_token(session))
        except BridgeError:
            if required:
                raise
            return NOBODY

    async def _known(self, request: web.Request, kind: str, secret: str) -> ApiToken:
        client = self.client_of(request)
        credential = digest(kind + secret[:_MOST_CREDENTIALS])
        self.attempts.check(client, credential)
        check = self.tokens.check if kind == "token" else self.tokens.check_session
        token = await check(secret) if len(secret) <= _MOST_CREDENTIALS else None
        if token is None:
            self.attempts.failed(client, credential)
            what = "token is unknown, revoked or expired" if kind == "token" else "session has ended"
            raise Unauthorized(f"The {what}.", hint="`hubbridge token list` shows which tokens are valid.")
        self.attempts.succeeded(credential)
        return token

    def client_of(self, request: web.Request) -> str:
        """The address that a request counts for; behind a trusted proxy, the one that the proxy saw."""
        client = request.remote or ""
        for given in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
            if not given.strip() or not self._is_proxy(client):
                break
            client = given.strip()[:100]
        return client

    def client_key(self, request: web.Request, principal: Principal) -> str:
        """Whose share of the service a request takes: its token's, or that of its address."""
        if principal.token_id is not None:
            return f"token {principal.token_id}"
        return network_of(self.client_of(request))

    def _is_proxy(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


def token_of(request: web.Request) -> str | None:
    """The token in the Authorization header; None without the header.

    Bearer; Token, as Django's REST framework writes it; and Basic with the token as its password, since CVAT's Nuclio
    settings and Label Studio know nothing else. The user name of Basic says nothing. Raises Unauthorized.
    """
    given = request.headers.getall("Authorization", [])
    if not given:
        return None
    scheme, _, rest = given[0].strip().partition(" ")
    rest = rest.strip()
    if len(given) == 1 and rest:
        if scheme.lower() in ("bearer", "token"):
            return rest
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(rest, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError, ValueError):
                pass
    raise Unauthorized("The Authorization header is none that is taken here.", hint="Send Authorization: Bearer TOKEN.")


async def _check_csrf(request: web.Request, expected: str) -> None:
    """A request that a cookie alone vouches for must carry what only our own pages know. Raises Forbidden."""
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.content_type == FORM:
        given = (await read_form(request)).get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Forbidden(
            "The request does not come from a page of this service.",
            hint=f"Reload the page. Programs send a token in Authorization instead of a cookie, or {CSRF_HEADER}.",
            code="csrf",
        )
