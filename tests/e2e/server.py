"""`hubbridge serve` as a process of its own, asked over HTTP only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self


class ServerProcess:
    """Starts at entering, is stopped at leaving; ``kill`` is kill -9."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.url = ""
        self.token = ""  # what ``call`` shows
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HUBBRIDGE_")},
            "HUBBRIDGE_STORAGE__DATA_DIR": str(folder / "data"),
            "HUBBRIDGE_CONFIG": str(folder / "config.toml"),
            "OMP_NUM_THREADS": "1",
            "HUBBRIDGE_MODELS__OPENVINO": "false",  # comparing engines takes seconds
            **(environment or {}),
        }
        (folder / "config.toml").touch()

    def start(self, *, port: int = 0) -> Self:
        command = [sys.executable, "-c", "from bridge.cli import main; main()", "serve", "--port", str(port)]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + (self.folder / "server.log").read_text()
        self.url = found[0]
        return self

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self._reap()

    def _reap(self) -> int:
        code = self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        elif self.process.stdout is not None:
            self.process.stdout.close()

    def call(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """JSON, or text of another answer. An error answer is an AssertionError that shows it."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": content_type}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as response:
                text = response.read().decode()
                return json.loads(text) if response.headers.get_content_type() == "application/json" else text
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code} {error.read().decode()}") from error

    def wait_for(self, job_id: int, states: tuple[str, ...], timeout_s: float = 300) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            job = self.call("GET", f"/v1/jobs/{job_id}")
            if job["state"] in states:
                return job
            time.sleep(0.05)
        raise AssertionError(f"the job is {job}")
