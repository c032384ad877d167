"""The command itself: help, version, settings, and how every error looks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import errors
from bridge.cli.annotate import with_clean_values
from bridge.cli.session import report_error
from tests.unit.bridge.cli.conftest import Terminal

HEAVY = ("torch", "transformers", "onnxruntime", "sqlalchemy", "aiohttp", "cv2", "huggingface_hub")


@pytest.mark.parametrize("arguments", [["--help"], ["job", "--help"], ["annotate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from bridge.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def test_help_names_every_exit_code(run: Terminal) -> None:
    text = " ".join(run.ok("--help").out.split())
    for code in (
        "0 done",
        "1 failed",
        "2 wrong usage",
        "3 done except",
        "4 the annotation job failed",
        "130 cancelled",
    ):
        assert code in text


@pytest.mark.parametrize(
    "arguments", [("nosuch",), ("job",), ("job", "show"), ("job", "show", "x"), ("task", "list", "--nosuch")]
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(run: Terminal, arguments: tuple[str, ...]) -> None:
    said = run(*arguments)
    assert said.code == 2
    assert "Usage" in said.err + said.out


def test_an_unknown_setting_in_the_environment_is_named(run: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_JOBS__BATCHSIZE", "3")
    said = run.refused("task", "list")
    assert "batchsize" in said.err
    assert "batch_size" in said.err


def test_an_unknown_setting_in_the_file_is_named(run: Terminal) -> None:
    (run.folder / "config.toml").write_text("[job]\nbatch_size = 2\n")
    assert "Did you mean jobs" in run.refused("task", "list").err


def test_a_missing_settings_file_is_named(run: Terminal) -> None:
    assert "nosuch.toml" in run.refused("--config", "nosuch.toml", "task", "list").err


def test_a_data_folder_that_cannot_be_made_is_one_line(run: Terminal) -> None:
    said = run.refused("--data-dir", run.folder / "images" / "0.png" / "below", "task", "list")
    assert "data_dir" in said.err


def test_errors_are_json_on_standard_error_when_json_was_asked_for(run: Terminal) -> None:
    said = run("task", "show", "nobody", "--json")
    assert (said.code, said.out) == (1, "")
    assert json.loads(said.err)["error"].keys() == {"code", "message", "hint"}


def test_a_defect_is_one_line_and_a_traceback_only_under_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(LookupError("inner"), ["task", "list"]) == 1
    assert "defect" in capsys.readouterr().err
    with pytest.raises(LookupError):
        report_error(LookupError("inner"), ["--debug", "task", "list"])


def test_square_brackets_in_an_error_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(errors.InvalidRequest("[red]no markup[/red]", hint="[storage] data_dir"), [])
    assert capsys.readouterr().err == "Error: [red]no markup[/red]\nHint:  [storage] data_dir\n"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["annotate", "a", "--clean"], ["annotate", "a", "--clean=automatic"]),
        (["annotate", "--clean", "a", "--out", "b"], ["annotate", "--clean=automatic", "a", "--out", "b"]),
        (["annotate", "a", "--clean", "all"], ["annotate", "a", "--clean", "all"]),
        (["annotate", "a", "--clean=model"], ["annotate", "a", "--clean=model"]),
        (["job", "start", "--clean", "all"], ["job", "start", "--clean", "all"]),
        ([], []),
    ],
)
def test_clean_alone_means_automatic_shapes(given: list[str], meant: list[str]) -> None:
    assert with_clean_values(given) == meant


def test_the_program_runs_from_its_installed_script(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("hubbridge")
    if not script.exists():
        pytest.skip("the package is not installed beside this interpreter")
    ended = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ended.stdout.startswith("hubbridge ")
