"""A host whose certificate a private authority has signed: asked where SSL_CERT_FILE names it, and refused without."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.servers.certificate import certificate

ASK = """
import asyncio, sys
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy

async def ask():
    caller = HttpCaller(sys.argv[1], HttpPolicy(frozenset({"127.0.0.1"})), Host("The host"))
    try:
        print((await caller.send(Request("/", method="GET"))).decode())
    finally:
        await caller.close()

asyncio.run(ask())
"""


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    authority, key = certificate(tmp_path)
    server = HTTPServer(("127.0.0.1", 0), _Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", authority
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("named", [True, False])
def test_a_private_authority_is_trusted_where_the_environment_names_it(host: tuple[str, Path], named: bool) -> None:
    url, authority = host
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSL_CERT")}
    if named:
        environment["SSL_CERT_FILE"] = str(authority)
    done = subprocess.run(
        [sys.executable, "-c", ASK, url], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout.strip() == "hello") is named, done.stderr
    assert ("cannot be reached" in done.stderr) is not named
