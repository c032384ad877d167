"""What stands between a CVAT and the models here: our face is asked, CVAT is asked, and both lists are compared."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from adapters.errors import PredictorError
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy
from bridge.errors import InvalidRequest, RemoteGone, RemoteRefused
from bridge.findings import Finding
from bridge.patience import Patience
from bridge.remotes import Access
from bridge.remotes.cvat.addresses import parse_base
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.remote import check_version

_SETTINGS = (
    "In the environment of CVAT's server and annotation worker: CVAT_SERVERLESS=1, CVAT_NUCLIO_HOST and "
    "CVAT_NUCLIO_PORT of this listener, CVAT_NUCLIO_INVOKE_METHOD=dashboard; then restart CVAT."
)


@dataclass(frozen=True, slots=True)
class Check:
    """``listen``, ``user`` and ``secret``: [cvat] of the settings. ``url``: of CVAT, or empty."""

    access: Access
    listen: str
    user: str
    secret: str
    url: str

    async def run(self) -> AsyncIterator[Finding]:
        ours: Mapping[str, Any] | None = None
        async for finding, found in self._face():
            ours = found if found is not None else ours
            yield finding
        async for finding in self._cvat(ours):
            yield finding

    async def _face(self) -> AsyncIterator[tuple[Finding, Mapping[str, Any] | None]]:
        """Our own side, as CVAT asks it."""
        if not self.listen:
            hint = "Start it with: hubbridge serve --cvat, or set [cvat] listen."
            yield Finding("wrong", "[cvat] listen is empty: CVAT finds no models here.", hint), None
            return
        host, _, port = self.listen.rpartition(":")
        address = f"{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104  (asked, not bound)
        login = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
        caller = HttpCaller(
            f"http://{address}",
            HttpPolicy(frozenset({address})),
            Host("Hubbridge"),
            secrets=(self.secret,),
            timeout_s=10,
        )
        try:
            headers = {"Authorization": f"Basic {login}"} if self.secret else {}
            answer = await caller.json(Request("/api/functions", "GET", headers=headers, subject="its list of models"))
        except PredictorError as error:
            hint = f"Is `hubbridge serve` running with [cvat] listen = {self.listen!r}?"
            yield Finding("wrong", f"The models are not answered at {address}: {error.message}", hint), None
            return
        finally:
            await caller.close()
        if not isinstance(answer, dict):
            yield (
                Finding("wrong", f"{address} does not answer as Hubbridge does.", "Another program listens there."),
                None,
            )
            return
        yield Finding("ok", f"{len(answer)} models are offered to CVAT at {address}."), answer
        if not answer:
            hint = "Register one: hubbridge model add onnx-community/rfdetr_nano-ONNX"
            yield Finding("wrong", "No model is registered.", hint), answer

    async def _cvat(self, ours: Mapping[str, Any] | None) -> AsyncIterator[Finding]:
        if not self.url:
            yield Finding("note", "CVAT itself was not asked.", "Give its address, or set CVAT_URL.")
            return
        try:
            base = parse_base(self.url)
        except InvalidRequest as error:
            yield Finding("wrong", error.message, error.hint)
            return
        host = urlsplit(base).netloc
        secret = await self.access.secret("cvat", host)
        if secret is None:
            hint = f"Store one: hubbridge connection add cvat --host {host}"
            yield Finding("wrong", f"No account at the CVAT of {host} is known.", hint)
            return
        policy = HttpPolicy(self.access.http.allowed_hosts | {host})
        client = CvatClient(base, secret, patience=Patience(0.0), policy=policy, timeout_s=20)
        try:
            version = await check_version(client)
            yield Finding("ok", f"CVAT {version} answers at {base}.")
            async for finding in self._models(client, ours):
                yield finding
        except PredictorError as error:
            yield Finding("wrong", error.message, error.hint)
        finally:
            await client.close()

    async def _models(self, client: CvatClient, ours: Mapping[str, Any] | None) -> AsyncIterator[Finding]:
        """What stands on CVAT's Models page."""
        try:
            plugins = await client.get("/api/server/plugins", "list of plugins")
        except (RemoteGone, RemoteRefused):  # some versions have none
            plugins = {}
        if isinstance(plugins, dict) and plugins.get("MODELS") is False:
            yield Finding("wrong", "CVAT runs without models: CVAT_SERVERLESS is not set.", _SETTINGS)
            return
        try:
            listed = await client.get("/api/lambda/functions", "list of models")
        except (RemoteGone, RemoteRefused) as error:
            yield Finding("wrong", f"CVAT has no Models page: {error.message}", _SETTINGS)
            return
        except PredictorError as error:
            hint = "CVAT cannot reach us, or its password is wrong: check CVAT_NUCLIO_HOST, _PORT and the NETRC file."
            yield Finding("wrong", f"CVAT cannot list the models: {error.message}", hint)
            return
        names = (
            {str(each.get("id")) for each in listed if isinstance(each, dict)} if isinstance(listed, list) else set()
        )
        yield Finding("ok", f"The account may use CVAT, whose Models page lists {len(names)} models.")
        missing = sorted(set(ours or ()) - names)
        if ours and not missing:
            yield Finding("ok", "All models here stand on CVAT's Models page.")
        elif ours:
            text = f"{len(missing)} of {len(ours)} models here are not on CVAT's Models page, such as {missing[0]}."
            yield Finding("wrong", text, f"CVAT asks another Nuclio than us. {_SETTINGS}")
