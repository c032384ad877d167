"""A real Chromium, driven by Playwright, before a server that runs as a process of its own.

What a page writes to the console as an error fails the test, and so does every answer that a test does not expect.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import ServerProcess
from tests.hub import HubServer, Repository

if os.environ.get("HUBBRIDGE_REQUIRE_BROWSER") != "1":
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
from playwright import sync_api

ROOT = Path(__file__).parents[3]
STREET = ROOT / "examples" / "street"
AXE = ROOT / ".venv" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 120_000  # for whatever a slow machine does


def need(there: object, what: str) -> None:
    """Skip where something is missing, or fail where it must not be."""
    if there:
        return
    if os.environ.get("HUBBRIDGE_REQUIRE_BROWSER") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One for each file: while Playwright is there its event loop runs in this thread, and no asynchronous test can."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    need(program, "Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Site:
    """A server, a browser's page on it, and what went wrong there."""

    server: ServerProcess
    page: Any
    hub: HubServer | None = None
    expected: list[str] = field(default_factory=list)  # parts of console errors that a test has asked for
    problems: list[str] = field(default_factory=list)

    def goto(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def at(self, pattern: str) -> re.Match[str]:
        """Wait for an address; its groups are ids."""
        self.page.wait_for_url(re.compile(pattern), timeout=PATIENCE_MS)
        found = re.search(pattern, self.page.url)
        assert found
        return found

    def expect(self, selector: str) -> Any:
        return sync_api.expect(self.page.locator(selector))

    def listen(self) -> None:
        def console(message: Any) -> None:
            text = f"{message.text} {message.location.get('url', '')}"
            if message.type in ("error", "warning") and not any(part in text for part in self.expected):
                self.problems.append(f"console {message.type}: {text}")

        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))


@contextmanager
def visit(chromium: Any, server: ServerProcess, hub: HubServer | None = None, **options: Any) -> Iterator[Site]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True, **options)
    context.set_default_timeout(PATIENCE_MS)
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    site = Site(server, context.new_page(), hub)
    site.listen()
    try:
        yield site
    finally:
        context.close()
    assert site.problems == []


def environment(hub: HubServer | None = None, **more: str) -> dict[str, str]:
    given = {"HUBBRIDGE_SERVER__SERVER_FOLDERS": str(STREET), "HUBBRIDGE_LOGGING__LEVEL": "error", **more}
    if hub is None:
        return given
    # The hub sends large files from another name of this machine.
    allowed = {"HUBBRIDGE_NETWORK__ALLOWED_HOSTS": f"localhost:{hub.port}"}
    return allowed | given | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def site(chromium: Any, tmp_path: Path) -> Iterator[Site]:
    """An empty service whose hub has one model, ``demo/street``, and a private one, ``demo/private``."""
    repositories = {
        "demo/street": Repository(STREET / "model"),
        "demo/private": Repository(STREET / "model", gated="manual"),
    }
    with (
        HubServer(repositories) as hub,
        ServerProcess(tmp_path, environment=environment(hub)) as server,
        visit(chromium, server, hub) as visited,
    ):
        yield visited


def add_street(server: ServerProcess, *, labels: tuple[str, ...] = ("vehicle", "person", "plant")) -> tuple[int, int]:
    """(task, model) over HTTP, for tests of what comes after."""
    model = server.call("POST", "/v1/models", {"reference": str(STREET / "model"), "name": "street"})
    body = {"name": "Street", "labels": [{"name": name} for name in labels]}
    task = server.call("POST", "/v1/tasks", body)
    server.call("POST", f"/v1/tasks/{task['id']}/frames", {"server_paths": [str(STREET / "images")]})
    return task["id"], model["id"]
