"""The lock pins what the project asks for, with hashes and without an index; the container has no rights."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from locks import audit

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "locks/core.txt").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def pinned() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)}


def test_every_dependency_is_pinned_to_a_version_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = pinned()
    for text in project["dependencies"]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        assert name in versions, f"{name} is not in locks/core.txt; run: make lock"
        assert wanted.specifier.contains(versions[name]), f"{name}: run make lock"


def test_every_pinned_package_has_hashes_and_nothing_names_an_index() -> None:
    packages = audit.requirements(LOCK)
    assert len(packages) == len(pinned()) > 40
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", package) for package in packages)
    assert "://" not in LOCK
    assert "--index" not in LOCK and "--find-links" not in LOCK
    assert not {"torch", "transformers"} & pinned().keys()


def test_the_container_is_built_from_the_lock_and_runs_without_rights() -> None:
    assert "--require-hashes --requirement locks/core.txt" in DOCKERFILE
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "HUBBRIDGE_AUTH__MODE=required" in last
    assert not re.search(r"ADD |sudo|curl|chmod 777|:latest", DOCKERFILE)


def test_the_compose_file_gives_the_container_no_more_than_it_needs() -> None:
    service = yaml.safe_load((ROOT / "deploy/docker-compose.override.yml").read_text())["services"]["hubbridge"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged") and "docker.sock" not in str(service)


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ([None], 0, "skipped, no index"),
        ([[{"name": "a", "skip_reason": "not found"}]], 0, "skipped, no index"),
        ([[{"name": "a", "vulns": []}], None], 0, "does not answer any more"),
        ([[{"name": "a", "vulns": []}], [{"name": "a", "vulns": []}, {"name": "b", "vulns": []}]], 0, "2 packages, 0"),
        (
            [
                [{"name": "a", "vulns": []}],
                [{"name": "b", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": []}]}],
            ],
            1,
            "1 packages, 1",
        ),
    ],
)
def test_an_audit_says_what_it_found_or_that_it_could_not_ask(
    answers: list[Any], code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        answer = answers.pop(0)
        text = "cannot reach it" if answer is None else json.dumps({"dependencies": answer})
        return subprocess.CompletedProcess([], 0, text, "")

    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.main() == code
    said = capsys.readouterr()
    assert words in said.out
    assert ("CVE-1" in said.err) == bool(code)
