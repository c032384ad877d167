"""`hubbridge backup`, `restore` and `doctor` as a stranger reads them."""

from __future__ import annotations

from bridge.backup import DATABASE
from bridge.restore import JOURNAL
from tests.unit.bridge.cli.conftest import Terminal


def test_saved_restored_and_well(run: Terminal) -> None:
    assert run("task", "create", "street", run.images, "--labels", "car").code == 0
    saved = run.folder / "saved.tar"
    said = run("backup", saved)
    assert said.code == 0
    assert "key of stored tokens is not in it" in said.out
    assert "elsewhere on this machine: 4 frames." in said.out
    assert run("backup", saved).code == 1
    restored = run("restore", saved)
    assert restored.code == 0
    assert "What was there lies in" in restored.out
    assert run("task", "list", "--json").json["tasks"][0]["name"] == "street"
    well = run("doctor", "--json")
    assert {each["check"] for each in well.json["findings"] if not each["well"]} <= {"disk"}


def test_what_is_wrong_is_an_exit_code(run: Terminal) -> None:
    assert run("task", "create", "street", run.images, "--labels", "car").code == 0
    next(run.images.iterdir()).unlink()
    said = run("doctor")
    assert said.code == 1
    assert "WRONG" in said.out and "gone" in said.out
    assert run("restore", run.images).code == 1


def test_commands_say_that_a_restore_was_finished(run: Terminal) -> None:
    assert run("task", "create", "street", run.images, "--labels", "car").code == 0
    saved = run.folder / "saved.tar"
    assert run("backup", saved).code == 0
    folder = next(run.folder.rglob(DATABASE)).parent
    (folder / JOURNAL).write_text('{"fresh": ".restore-x", "aside": "before-restore-x", "replacing": true}')
    said = run("doctor")
    assert "a restore that was interrupted is finished" in said.err
    (folder / JOURNAL).write_text('{"fresh": ".restore-x", "aside": "before-restore-x"}')
    said = run("backup", run.folder / "other.tar")
    assert "interrupted before it changed anything" in said.err
