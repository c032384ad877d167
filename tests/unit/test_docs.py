"""The reference tells the truth: every route, error code, metric and flag of a command stands in it, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
import yaml
from prometheus_client.metrics import MetricWrapperBase

from bridge.cli.main import app
from bridge.web.errors import ERROR_CODES
from bridge.web.metrics import Metrics
from bridge.web.openapi import errors_of
from bridge.web.routes import ROUTES

ROOT = Path(__file__).parents[2]
REST = (ROOT / "docs/reference/rest-api.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")


def test_every_route_is_documented_with_its_scope_summary_and_statuses() -> None:
    rows = dict(re.findall(r"^\| `((?:GET|POST|PATCH|DELETE|PUT) [^`]+)` \| (.+) \|$", REST, re.MULTILINE))
    assert rows.keys() == {f"{route.method} {route.path}" for route in ROUTES}
    for route in ROUTES:
        scope, text, statuses = rows[f"{route.method} {route.path}"].split(" | ")
        assert scope == route.scope
        assert text.startswith(f"{route.summary}.")
        assert ("Takes an `Idempotency-Key`" in text) == route.idempotent
        assert [int(status) for status in statuses.split(", ")] == [*route.answers, *errors_of(route)]


def test_every_error_code_is_documented_with_its_meaning() -> None:
    table = REST.partition("## Errors")[2].partition("## Routes")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == ERROR_CODES


def test_every_error_code_in_the_sources_has_a_meaning() -> None:
    found: set[str] = set()
    for path in (ROOT / "bridge").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"\bcode=\"(\w+)\"", text))
        found |= set(re.findall(r"^    status, code = \d+, \"(\w+)\"$", text, re.MULTILINE))
    assert len(found) > 20
    assert found - ERROR_CODES.keys() == set()


def test_every_metric_is_documented_with_its_labels() -> None:
    table = REST.partition("## Metrics")[2].partition("## Starting")[0]
    documented = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `((?:hubbridge|process)_\w+)` \| ([^|]*) ?\|", table, re.MULTILINE)
    }
    assert documented == real_metrics()


def real_metrics() -> dict[str, set[str]]:
    """Name -> labels of every metric that the service has."""
    metrics = Metrics()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and metric._labelnames:
            metric.labels(*metric._labelnames)  # any value makes a sample
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name: {
            label for sample in metric.samples for label in sample.labels if label != "le"
        }
        for metric in metrics.registry.collect()
    }


DEPLOY = ROOT / "deploy"


def expressions() -> Iterator[str]:
    """What the dashboard and the alerts ask Prometheus."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_the_dashboard_and_the_alerts_ask_for_metrics_and_labels_that_exist() -> None:
    real = real_metrics()
    asked = list(expressions())
    assert len(asked) >= 20
    for expression in asked:
        names = re.findall(r"\b((?:hubbridge|process)_\w+)(\{[^}]*\})?", expression)
        assert names, expression
        for name, selector in names:
            known = name if name in real else re.sub(r"_(bucket|sum|count)$", "", name)
            assert known in real, expression
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= real[known] | {"job", "instance", "le"}, expression
    shown = {name for expression in asked for name in re.findall(r"hubbridge_\w+", expression)}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {name for name in real if name.startswith("hubbridge_")} - stems == {"hubbridge_build_info"}


def test_every_alert_says_what_to_do_and_is_documented() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"] and rule["annotations"]["description"]
            assert f"`{rule['alert']}`" in text


def commands() -> Iterator[tuple[str, click.Command]]:
    def below(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, f"{path} {name}")

    yield from below(typer.main.get_command(app), "hubbridge")  # type: ignore[arg-type]


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(re.findall(r"^##+ `(hubbridge[^`]*)`$", COMMANDS, re.MULTILINE)) == {path for path, _ in commands()}


@pytest.mark.parametrize("path", [path for path, _ in commands()])
def test_every_flag_of_a_command_is_documented_and_no_other(path: str) -> None:
    command = dict(commands())[path]
    section = re.split(r"^##+ ", COMMANDS.partition(f" `{path}`\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    documented = {
        flag
        for row in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
        for flag in re.findall(r"`(--?[\w-]+)`", row)
    }
    real = {
        flag
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
        for flag in [*parameter.opts, *parameter.secondary_opts]
    }
    assert documented == real
