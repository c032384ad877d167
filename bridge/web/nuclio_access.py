"""Who may call the Nuclio face: CVAT's user and secret, a token as a password, or on ports of single models a peer."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from bridge.app import App
from bridge.domain import Scope
from bridge.errors import Forbidden, InvalidRequest, Unauthorized
from bridge.settings_sections import CvatSettings
from bridge.tokens import digest
from bridge.web.attempts import FailedAttempts
from bridge.web.authentication import Authentication
from bridge.web.guard import check_origin, is_loopback

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FROM_CONTAINERS = "host.docker.internal"  # what CVAT calls from a container; Docker Desktop lets it in as loopback


@dataclass(frozen=True, slots=True)
class FaceAccess:
    """The checks of one face. CVAT can send no other credentials than HTTP Basic, and on direct ports none at all."""

    auth: Authentication
    user: str
    secret: str
    peers: Sequence[Network]

    @classmethod
    async def of(cls, service: App, host: str, attempts: FailedAttempts) -> FaceAccess:
        """Raises InvalidRequest where others could call models there without being asked for anything."""
        settings = service.settings.cvat
        auth = Authentication(service.tokens, service.settings, attempts=attempts)
        if settings.secret.get_secret_value():
            auth.serves_beyond = True  # whoever it is, is asked for it
        else:
            await _listen_at(auth, host)
        if settings.direct_ports and not is_loopback(host) and not settings.direct_peers:
            raise InvalidRequest(
                "[cvat] direct_ports would let every machine call models: CVAT sends no password there.",
                hint="Name CVAT's addresses in direct_peers, such as 172.16.0.0/12, or use the method dashboard.",
                code="needs_authentication",
            )
        return cls(auth, settings.user, settings.secret.get_secret_value(), _networks(settings))

    async def authorize(self, request: web.Request) -> str:
        """Let a call of the dashboard through, and say whose share it takes.

        Raises Unauthorized, Forbidden or TooManyRequests.
        """
        header = request.headers.get("Authorization", "")
        if self.secret and header:
            client, credential = self.auth.client_of(request), digest("cvat" + header[:500])
            self.auth.attempts.check(client, credential)
            if self._is_ours(header):
                self.auth.attempts.succeeded(credential)
                return f"cvat {client}"
        try:
            principal = await self.auth.authorize(request, Scope.READ if request.method == "GET" else Scope.ANNOTATE)
        except Unauthorized as error:
            sent = "did not accept the user and password that CVAT sent" if header else "wants a user and a password"
            raise Unauthorized(
                f"Hubbridge {sent}.",
                hint="Put them into the NETRC file of CVAT's server and workers: "
                f"machine HOST login {self.user} password SECRET.",
            ) from error
        return self.auth.client_key(request, principal)

    def check_peer(self, request: web.Request) -> None:
        """Let a call to a port of a single model through. Raises Forbidden."""
        remote = request.remote or ""
        if is_loopback(remote):
            check_origin(request, is_open=True, known_as=(FROM_CONTAINERS,))
        elif not self._is_peer(remote):
            raise Forbidden(f"{remote} may not call models directly.", hint="Name it in [cvat] direct_peers.")

    def _is_ours(self, header: str) -> bool:
        scheme, _, packed = header.partition(" ")
        try:
            given = base64.b64decode(packed.strip(), validate=True)
        except (ValueError, binascii.Error):
            return False
        wanted = f"{self.user}:{self.secret}"
        # requests packs text in latin-1, other clients in UTF-8
        forms = {wanted.encode(), wanted.encode("latin-1", "replace")}
        return scheme.lower() == "basic" and any(hmac.compare_digest(given, form) for form in forms)

    def _is_peer(self, remote: str) -> bool:
        try:
            address = ipaddress.ip_address(remote.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.peers)


async def _listen_at(auth: Authentication, host: str) -> None:
    try:
        await auth.listen_at(host)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"[cvat] listen is {host}, which other machines reach: CVAT needs a password there.",
            hint="Set HUBBRIDGE_CVAT__SECRET, or make a token (hubbridge token create cvat --scope annotate) and give "
            "it to CVAT as the password.",
            code="needs_authentication",
        ) from error


def _networks(settings: CvatSettings) -> list[Network]:
    try:
        return [ipaddress.ip_network(peer, strict=False) for peer in settings.direct_peers]
    except ValueError as error:
        raise InvalidRequest(
            "[cvat] direct_peers holds something that is no address and no network.",
            hint="For example: 172.16.0.0/12, or 10.0.0.5",
        ) from error
