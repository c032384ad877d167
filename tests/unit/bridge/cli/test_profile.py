"""`hubbridge profile`, and profiles where a model is named."""

from __future__ import annotations

import json

import pytest

from tests.servers.cvat import TOKEN, CvatServer, State, images_task, label
from tests.unit.bridge.cli.conftest import Terminal


def test_a_profile_is_made_listed_shown_and_removed(run: Terminal) -> None:
    assert "There is no profile" in run.ok("profile", "list").out
    said = run.ok("profile", "add", "traffic", "--model", run.model, "--labels", "Car,walker", "--title", "For Traffic")
    assert "Made the profile traffic." in said.out
    assert "person" in said.out  # left out, but likely
    assert [each["name"] for each in run.ok("profile", "list", "--json").json["profiles"]] == ["traffic"]
    assert "For Traffic" in run.ok("profile", "list").out
    assert "car -> Car" in run.ok("profile", "show", "traffic").out
    shown = run.ok("profile", "show", "traffic", "--json").json
    assert (shown["profile"]["pairs"], shown["model"]) == ({"car": "Car"}, "detector")
    run.refused("model", "remove", "detector")
    assert run.ok("profile", "remove", "traffic", "--json").json == {"removed": "traffic"}
    run.ok("profile", "add", "again", "--model", "detector", "--labels", "Car", "--json")
    assert "Removed again" in run.ok("profile", "remove", "again").out


def test_what_no_label_becomes_is_said_and_a_profile_is_no_model(run: Terminal) -> None:
    said = run.ok("profile", "add", "traffic", "--model", run.model, "--labels", "Car,unicorn,dragon")
    assert "becomes unicorn, dragon: --map" in " ".join(said.out.split())
    refused = run.refused("profile", "add", "more", "--model", "traffic", "--labels", "Car")
    assert "traffic is a profile." in refused.err and "Name its model: detector." in refused.err


def test_a_job_and_the_one_liner_take_a_profile(run: Terminal) -> None:
    task = run.street()
    run.ok("profile", "add", "cars", "--model", "detector", "--task", "street", "--map", "person=", "--threshold", "0")
    started = run.ok("job", "start", task, "--model", "cars", "--json").json
    assert "person" not in started["job"]["resolved"]["pairs"]
    assert started["job"]["resolved"]["threshold"] == 0
    assert run.ok("learned", "list", "--json").json["pairs"] == []  # what it leaves out is no word on suggestions
    assert run.ok("job", "preview", task, "--model", "cars", "--frames", "1", "--json").json["unmapped"]
    run.ok("profile", "add", "autos", "--model", "detector", "--labels", "Auto", "--map", "car=Auto")
    out = run.folder / "out.json"
    run.ok("annotate", run.images, "--model", "autos", "--out", out, "--threshold", "0")
    assert [each["name"] for each in json.loads(out.read_text())["categories"]] == ["Auto"]
    refused = run.refused("annotate", run.images, "--model", "autos", "--labels", "tree", "--task", "new", "--out", out)
    assert "fills none of the task's labels" in refused.err
    assert "new" not in [each["name"] for each in run.ok("task", "list", "--json").json["tasks"]]


def test_the_labels_are_those_of_a_task_in_cvat(run: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [label(7, "Car", "rectangle"), label(8, "walker", "polygon")]
    with CvatServer(State(images_task(42, 2, labels))) as cvat:
        monkeypatch.setenv("HUBBRIDGE_NETWORK__ALLOWED_HOSTS", "127.0.0.1")
        monkeypatch.setenv("CVAT_ACCESS_TOKEN", TOKEN)
        run.ok("connection", "add", "cvat", "--host", f"127.0.0.1:{cvat.port}", "--from-env", "CVAT_ACCESS_TOKEN")
        made = ("profile", "add", "traffic", "--model", run.model, "--map", "person=walker", "--json")
        profile = run.ok(*made, "--task", f"{cvat.url}/tasks/42").json["profile"]
    assert [(each["name"], each["type"]) for each in profile["labels"]] == [("Car", "rectangle"), ("walker", "polygon")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("profile", "show", "nobody"), 1),
        (("profile", "remove", "nobody"), 1),
        (("profile", "add", "x", "--model", "./detector"), 2),
        (("profile", "add", "x", "--model", "./detector", "--labels", "a", "--task", "b"), 2),
        (("profile", "add", "x", "--model", "./detector", "--labels", "unicorn"), 1),
        (("profile", "add", "no good", "--model", "./detector", "--labels", "car"), 1),
    ],
)
def test_what_is_refused(run: Terminal, arguments: tuple[str, ...], code: int) -> None:
    run.refused(*arguments, code=code)
