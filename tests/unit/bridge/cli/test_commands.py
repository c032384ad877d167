"""Every command: what it does, what it prints for people and programs, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bridge.cli.conftest import LABELS, Terminal

KEY = "hf_aVerySecretKeyOfSomebody"

# --- model ----------------------------------------------------------------------------------------------------------


def test_a_model_is_added_once_shown_changed_and_removed(run: Terminal) -> None:
    assert "No model is registered" in run.ok("model", "list").out
    added = run.ok("model", "add", run.model, "--name", "mine", "--json").json
    assert (added["new"], added["model"]["name"], added["model"]["fetched"]) == (True, "mine", True)
    assert added["model"]["card"]["labels"] == LABELS.split(",")
    assert "registered already" in run.ok("model", "add", run.model).out
    assert run.ok("model", "add", run.model, "--json").json["new"] is False
    assert [model["name"] for model in run.ok("model", "list", "--json").json["models"]] == ["mine"]
    assert "stop sign" in run.ok("model", "show", "mine").out
    assert run.ok("model", "set", "mine", "--threshold", "0.3", "--json").json["model"]["threshold"] == 0.3
    assert "yours" in run.ok("model", "set", "mine", "--name", "yours").out
    assert "yours" in run.ok("model", "list").out
    assert run.ok("model", "remove", "yours", "--json").json == {"removed": "yours"}
    assert run.ok("model", "list", "--json").json == {"models": []}


def test_a_model_is_tried_without_storing_anything(run: Terminal) -> None:
    run.ok("model", "add", run.model)
    (run.images / "broken.jpg").write_text("no image")
    said = run("model", "test", "detector", run.images, "--threshold", "0", "--json")
    assert said.code == 3
    assert [image["name"] for image in said.json["images"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert len(said.json["failures"]) == 1
    assert "broken.jpg" in said.json["failures"][0]
    assert "median" in run("model", "test", "detector", run.images).out
    assert "Loading the model: converting it for openvino" in said.err  # once, and never again
    assert "Loading" not in run("model", "test", "detector", run.images).err
    assert run.ok("model", "test", "detector").out
    assert run.ok("task", "list", "--json").json == {"tasks": []}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("model", "show", "nobody"), "nobody"),
        (("model", "remove", "nobody"), "nobody"),
        (("model", "test", "nobody"), "nobody"),
        (("model", "set", "nobody", "--threshold", "0.5"), "nobody"),
        (("model", "add", "https://huggingface.co/datasets/org/name"), "dataset"),
        (("model", "add", "./nosuch/folder"), "nosuch"),
        (("model", "add", "./detector", "--name", "no good"), "no good"),
        (("task", "show", "nobody"), "nobody"),
        (("task", "remove", "nobody", "--yes"), "nobody"),
        (("task", "export", "nobody", "--out", "x.json"), "nobody"),
        (("task", "import", "nobody", "x.json"), "nobody"),
        (("task", "preview", "nobody", "--out", "x"), "nobody"),
        (("task", "create", "x", "nosuch", "--labels", "car"), "nosuch"),
        (("task", "create", "x", "./detector", "--labels", "car"), "no task was created"),
        (("task", "create", "x", "images", "--labels", "nosuch.txt"), "nosuch.txt"),
        (("task", "create", "x", "images", "--labels", "car,car"), "car"),
        (("job", "start", "nobody", "--model", "nobody"), "nobody"),
        (("job", "show", "7"), "7"),
        (("job", "watch", "7"), "7"),
        (("job", "cancel", "7"), "7"),
        (("job", "resume", "7"), "7"),
        (("job", "retry", "7"), "7"),
        (("job", "undo", "7"), "7"),
        (("job", "list", "--task", "nobody"), "nobody"),
        (("connection", "remove", "7"), "7"),
        (("connection", "add", "huggingface", "--from-env", "NOSUCH"), "NOSUCH"),
        (("match", "car", "--labels", "nosuch.txt"), "nosuch.txt"),
        (("match", "nosuch.txt", "--labels", "car"), "no file or folder nosuch.txt"),
        (("match", "labels/nosuch.JSON", "--labels", "car"), "no file or folder labels/nosuch.JSON"),
        (("match", "./nosuch", "--labels", "car"), "no file or folder ./nosuch"),
        (("match", "car,", "--labels", "car,,"), "comma"),
        (("annotate", "nosuch", "--model", "./detector", "--out", "x.json"), "nosuch"),
        (("annotate", "images", "--model", "./nosuch", "--out", "x.json"), "nosuch"),
        (("annotate", "images", "--model", "./detector", "--out", "x.json", "--format", "nosuch"), "nosuch"),
    ],
)
def test_what_is_not_there_is_named_in_one_line(run: Terminal, arguments: tuple[str, ...], named: str) -> None:
    assert named in run.refused(*arguments).err
    assert run.ok("task", "list", "--json").json == {"tasks": []}


@pytest.mark.parametrize(
    "arguments",
    [
        ("model", "set", "detector"),
        ("model", "set", "detector", "--threshold", "2"),
        ("connection", "add", "nosuch"),
        ("annotate", "images", "--model", "m", "--out", "x", "--clean=some"),
        ("annotate", "images", "--model", "./detector", "--out", "x", "--map", "car"),
        ("annotate", "images", "--model", "./detector", "--out", "x", "--map", "=car"),
        ("annotate", "images", "--model", "./detector", "--out", "x", "--label-threshold", "car=high"),
        ("job", "start", "street", "--model", "m", "--every", "0"),
        ("job", "start", "street", "--model", "m", "--clean", "some"),
        ("task", "import", "street", "x.json", "--source", "elsewhere"),
    ],
)
def test_options_that_make_no_sense_are_wrong_usage(run: Terminal, arguments: tuple[str, ...]) -> None:
    run.refused(*arguments, code=2)
    assert run.ok("task", "list", "--json").json == {"tasks": []}


# --- task -----------------------------------------------------------------------------------------------------------


def test_a_task_is_created_listed_shown_exported_imported_and_removed(run: Terminal) -> None:
    number = run.street()
    assert "street" in run.ok("task", "list").out
    assert "stop sign" in run.ok("task", "show", number).out
    shown = run.ok("task", "show", "street", "--json").json
    assert (shown["task"]["frame_count"], shown["shapes_by_label"]) == (4, {})
    assert "exists already" in run.refused("task", "create", "street", run.images, "--labels", "car").err
    run.ok("job", "start", "street", "--model", "detector", "--threshold", "0")
    count = run.ok("task", "show", "street", "--json").json["task"]["shape_count"]
    exported = run.ok("task", "export", "street", "--out", "out.json", "--json").json["exported"]
    assert (exported["frames"], exported["shapes"]) == (4, count)
    imported = run.ok("task", "import", "street", "out.json", "--source", "automatic", "--json").json["imported"]
    assert imported["shapes"] == count > 0
    assert "out.zip" in run.refused("task", "export", "street", "--out", "out.json", "--images").err
    said = run.ok("task", "export", "street", "--out", "with", "--images")
    assert f"Wrote {2 * count} shapes on 4 frames and 4 images to with." in said.out
    assert (run.folder / "with/images/0.png").read_bytes() == (run.images / "0.png").read_bytes()
    (run.images / "0.png").rename(run.folder / "away.png")
    said = run("task", "export", "street", "--out", "part.zip", "--images", "--json")
    assert (said.code, said.json["exported"]["missing"]) == (3, 1)
    (run.folder / "away.png").rename(run.images / "0.png")
    assert "picture" in run.ok("task", "preview", "street", "--out", "pictures", "--frames", "2").out
    assert len(list((run.folder / "pictures").iterdir())) == 3
    assert run.ok("task", "remove", "street", "--yes").out == "Removed street.\n"
    assert (run.images / "0.png").exists()


def test_files_that_are_no_images_are_named_and_the_rest_goes_on(run: Terminal) -> None:
    (run.images / "broken.jpg").write_text("no image")
    (run.images / "note.md").write_text("nothing")
    said = run("task", "create", "street", run.images, "--labels", "car")
    assert said.code == 3
    assert "Left out: broken.jpg is not an image." in said.err
    assert "1 file " in said.err
    again = run("task", "create", "again", run.images, "--labels", "car", "--json")
    assert again.code == 3
    assert again.err == ""
    assert [rejected["name"] for rejected in again.json["rejected"]] == ["broken.jpg"]


def test_an_import_says_what_found_no_place(run: Terminal) -> None:
    run.street()
    document = {
        "images": [{"id": 1, "file_name": "elsewhere.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}],
    }
    Path("in.json").write_text(json.dumps(document))
    said = run("task", "import", "street", "in.json")
    assert said.code == 3
    assert "elsewhere.png" in said.out
    assert run("task", "import", "street", "in.json", "--json").json["imported"]["unknown_files"] == ["elsewhere.png"]


def test_removing_asks_first(run: Terminal, stdin: Callable[[str], None]) -> None:
    run.street()
    stdin("n\n")
    assert run("task", "remove", "street").code == 1
    assert run.ok("task", "list", "--json").json["tasks"]
    stdin("y\n")
    run.ok("task", "remove", "street")
    assert run.ok("task", "list", "--json").json == {"tasks": []}


def test_a_number_as_a_name_is_not_taken_for_an_id(run: Terminal) -> None:
    run.street()
    made = run.ok("task", "create", "1", run.images / "0.png", "--labels", "car", "--json").json
    assert made["task"]["frame_count"] == 1
    run.ok("job", "start", "street", "--model", "detector", "--threshold", "0")
    assert "street" in run.ok("job", "show", "1").out  # the task with id 1, not the one named so


# --- job ------------------------------------------------------------------------------------------------------------


def test_a_job_is_started_shown_and_undone(run: Terminal) -> None:
    run.street()
    said = run.ok("job", "start", "street", "--model", "detector", "--threshold", "0")
    assert "Annotation job 1: detector" in said.out
    assert "Job 1 succeeded: 4 frames done" in said.out
    assert "\x1b" not in said.out + said.err
    assert "succeeded" in run.ok("job", "list").out
    shown = run.ok("job", "show", "1", "--json").json["job"]
    assert (shown["state"], shown["frames_done"], shown["resolved"]["threshold"]) == ("succeeded", 4, 0)
    assert "car -> car" in run.ok("job", "show", "1", "--failed").out
    assert run.ok("job", "watch", "1", "--json").json["job"]["state"] == "succeeded"
    for again in ("cancel", "resume", "retry"):
        run.refused("job", again, 1)
    undone = run.ok("job", "undo", "1", "--json").json["undone"]
    assert undone == {"removed": shown["shapes_created"], "restored": 0, "kept": 0}
    assert "was undone" in run.refused("job", "undo", 1).err
    assert "succeeded, undone" in run.ok("job", "list").out


def test_stored_results_are_applied_with_what_the_job_had_changed_or_taken_away(run: Terminal) -> None:
    run.street()
    run.ok("job", "start", "street", "--model", "detector", "--threshold", "0", "--track", "--nms", "0.5")
    for options, spec in {
        (): {"nms": {"iou": 0.5, "class_agnostic": False}, "track": {"iou": 0.3, "max_gap": 5, "min_length": 2}},
        ("--no-nms", "--no-track"): {"nms": None, "track": None},
        ("--track", "--track-gap", "2"): {"track": {"iou": 0.3, "max_gap": 2, "min_length": 2}},
        ("--top-k", "3", "--keep-manual", "0.5"): {"top_k": 3, "keep_manual_iou": 0.5},
    }.items():
        made = run.ok("job", "apply", 1, *options, "--queue", "--json").json["job"]
        assert {key: made["spec"][key] for key in spec} == spec
        run.ok("job", "cancel", made["id"])
    made = run.ok("job", "apply", 1, "--top-k", "3", "--keep-manual", "0.5", "--json").json["job"]
    made = run.ok("job", "apply", made["id"], "--no-top-k", "--no-keep-manual", "--json").json["job"]
    assert (made["spec"]["top_k"], made["spec"]["keep_manual_iou"], made["state"]) == (None, None, "succeeded")
    assert "the stored results of job 1" in run.ok("job", "show", made["id"]).out
    for both in ("nms", "top-k", "keep-manual"):
        assert f"contradicts --{both}" in run.refused("job", "apply", 1, f"--{both}", "1", f"--no-{both}", code=2).err
    assert "needs --track" in run.refused("job", "apply", 1, "--track-gap", "2", code=2).err


def test_a_queued_job_is_cancelled_or_resumed(run: Terminal) -> None:
    run.street()
    queued = run.ok("job", "start", "street", "--model", "detector", "--queue", "--json").json["job"]
    assert (queued["state"], queued["frames_total"]) == ("queued", 4)
    assert run.ok("job", "cancel", 1).out == "Job 1 is cancelled.\n"
    said = run.ok("job", "resume", 1, "--json")
    assert said.json["job"]["state"] == "succeeded"
    assert all(line.startswith("Loading the model: ") for line in said.err.splitlines())


def test_the_frames_that_are_asked_for(run: Terminal) -> None:
    run.street()
    start = ("job", "start", "street", "--model", "detector", "--threshold", "0", "--json")
    assert run.ok(*start, "--from", "1", "--to", "4", "--every", "2").json["job"]["frames_total"] == 2
    assert run.ok(*start, "--unannotated").json["job"]["frames_total"] == 2
    assert "selected" in json.loads(run(*start, "--from", "50").err)["error"]["message"]


def test_frames_that_fail_are_named_and_can_be_tried_again(run: Terminal) -> None:
    run.street()
    shutil.move(run.images / "2.png", run.folder / "2.png")
    said = run("job", "start", "street", "--model", "detector", "--threshold", "0")
    assert said.code == 3
    assert "hubbridge job retry 1" in said.out
    failed = run.ok("job", "show", "1", "--failed", "--json").json["failed"]
    assert [(row["name"], row["error"]) for row in failed] == [("2.png", "2.png is missing.")]
    assert "2.png is missing." in run.ok("job", "show", "1", "--failed").out
    shutil.move(run.folder / "2.png", run.images / "2.png")
    retried = run.ok("job", "retry", "1", "--json").json["job"]
    assert (retried["state"], retried["frames_done"], retried["frames_failed"]) == ("succeeded", 4, 0)


def test_a_job_that_fails_ends_with_4_and_says_why_and_how_to_go_on(run: Terminal) -> None:
    run.street()
    shutil.rmtree(run.model)
    said = run("job", "start", "street", "--model", "detector")
    assert said.code == 4
    assert "Job 1 failed: 0 frames done" in said.out
    assert "hubbridge job resume 1" in said.out
    answer = run("job", "resume", "1", "--json")
    assert (answer.code, answer.json["job"]["state"]) == (4, "failed")
    assert answer.json["job"]["error"]


def test_a_job_most_of_whose_frames_fail_ends_with_4(run: Terminal) -> None:
    run.street()
    for name in ("0.png", "1.png", "2.png"):
        (run.images / name).unlink()
    said = run("job", "start", "street", "--model", "detector")
    assert said.code == 4
    assert "3 of 4 frames failed" in said.out


# --- match, connection ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["detector", "./detector", "car,person", "labels.txt", '["car", {"name": "person"}]'])
def test_labels_are_matched_from_a_name_a_reference_a_list_or_a_file(run: Terminal, model: str) -> None:
    run.ok("model", "add", run.model)
    Path("labels.txt").write_text("car\nperson\n")
    found = run.ok("match", model, "--labels", "Car,human", "--json").json["matches"]
    by_label = {match["model_label"]: match for match in found}
    assert by_label["car"]["accepted"]
    assert by_label["person"]["task_label"] == "human"
    assert 0 < by_label["person"]["score"] < 1
    assert not by_label["person"]["accepted"]
    assert by_label["person"]["reason"]
    assert "accepted" in run.ok("match", model, "--labels", "Car,human").out


def test_a_list_of_one_label_ends_in_a_comma_and_the_hint_says_so(run: Terminal, monkeypatch: Any) -> None:
    (match,) = run.ok("match", "widget,", "--labels", "Widget", "--json").json["matches"]
    assert match["accepted"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "ends in a comma: widget," in run.refused("match", "widget", "--labels", "Widget").err
    assert "comma" not in run.refused("match", "org/widget", "--labels", "Widget").err


def test_a_folder_that_holds_a_model_is_taken_where_no_model_is_registered_by_its_name(run: Terminal) -> None:
    deep = Path("models/of/ours")
    deep.parent.mkdir(parents=True)
    shutil.copytree(run.model, deep)
    for name in ("detector", "models/of/ours", "models/of/ours/"):
        found = run.ok("match", name, "--labels", "Car", "--json").json["matches"]
        assert "car" in {match["model_label"] for match in found}
    run.ok("annotate", run.images, "--model", "models/of/ours", "--out", "out.json", "--threshold", "0")
    assert run.ok("model", "add", "detector").code == 0
    shutil.rmtree("detector")
    Path("detector").mkdir()
    assert run.ok("match", "detector", "--labels", "Car", "--json").json["matches"]  # the registered one


def test_a_folder_without_a_model_does_not_stand_for_an_id_of_the_hub(run: Terminal, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Path("org/name").mkdir(parents=True)
    assert "No such" not in run.refused("match", "org/name", "--labels", "car").err
    assert (
        run.refused("match", "org/name", "--labels", "car").err
        == run.refused("match", "hf://org/name", "--labels", "car").err
    )


def test_the_table_shows_matched_labels_then_names_the_rest(run: Terminal) -> None:
    labels = "qqxyzzy,truck,plugh,sofa"
    said = run.ok("match", labels, "--labels", "vehicle,truck,couch").out
    assert "no match: qqxyzzy, plugh" in said
    assert said.index("truck") < said.index("sofa") < said.index("no match")
    assert "vehicle 0." in said  # what truck could be as well
    found = run.ok("match", labels, "--labels", "vehicle,truck,couch", "--json").json["matches"]
    assert [match["model_label"] for match in found] == labels.split(",")
    assert "no match" not in run.ok("match", "car,bus", "--labels", "car,bus").out
    assert run.ok("match", "qqxyzzy,", "--labels", "car").out.strip() == "no match: qqxyzzy"


def test_a_learned_pair_that_another_one_replaced_is_shown_as_such(run: Terminal) -> None:
    pairs = [("car", "bus", True), ("tree", "bush", False), ("Car", "vehicle", True)]
    document = {"pairs": [{"model_label": m, "task_label": t, "accepted": a} for m, t, a in pairs]}
    Path("learned.json").write_text(json.dumps(document))
    run.ok("learned", "import", "learned.json")
    told = run.ok("learned", "list", "--json").json["pairs"]
    assert {pair["task_label"]: pair["replaced"] for pair in told} == {"bus": True, "bush": False, "vehicle": False}
    lines = {line.split()[1]: line.split()[2] for line in run.ok("learned", "list").out.splitlines() if "b" in line}
    assert (lines["bus"], lines["bush"]) == ("replaced", "refused")


def test_a_token_goes_in_and_never_comes_out(
    run: Terminal, stdin: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(f"{KEY}\n")
    said = [run.ok("connection", "add", "huggingface"), run.ok("connection", "list")]
    monkeypatch.setenv("MY_TOKEN", KEY)
    said.append(run.ok("connection", "add", "huggingface", "--host", "hub.example", "--from-env", "MY_TOKEN", "--json"))
    said.append(run.ok("connection", "list", "--json"))
    assert [c["host"] for c in said[-1].json["connections"]] == ["huggingface.co", "hub.example"]
    said.append(run.ok("connection", "remove", 1))
    assert all(KEY not in each.out + each.err for each in said)
    for file in (run.folder / "data").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_an_empty_token_is_refused(run: Terminal, stdin: Callable[[str], None]) -> None:
    stdin("")
    assert "secret" in run.refused("connection", "add", "huggingface").err.lower()


# --- annotate -------------------------------------------------------------------------------------------------------


def annotate(run: Terminal, *more: object) -> tuple[object, ...]:
    return ("annotate", run.images, "--model", run.model, "--out", "out.json", "--threshold", "0", *more)


def exported() -> Any:
    return json.loads(Path("out.json").read_text())


def test_one_line_annotates_images(run: Terminal) -> None:
    said = run.ok(*annotate(run))
    assert "Job 1 succeeded: 4 frames done" in said.out
    document = exported()
    assert [image["file_name"] for image in document["images"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert {category["name"] for category in document["categories"]} == set(LABELS.split(","))
    assert len(document["annotations"]) > 0


def test_a_word_that_is_no_model_is_answered_by_those_that_are_near(
    run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    run.ok("model", "add", run.model, "--name", "street-model")
    for said in (
        run.refused("annotate", run.images, "--out", "out.json", "--model", "stret-model"),
        run.refused("match", "stret-model", "--labels", "car"),
    ):
        assert "No model is called 'stret-model' here" in said.err
        assert "Did you mean street-model" in said.err
        assert "https://huggingface.co/" in said.err
    assert "Did you mean street-model? " in run.refused("model", "show", "street-modle").err
    assert "Did you mean" not in run.refused("model", "show", "zzzz").err


def test_one_line_brings_the_images_along_and_says_first_where_that_cannot_be(run: Terminal) -> None:
    assert "out.zip" in run.refused(*annotate(run, "--images")).err
    assert run.ok("task", "list", "--json").json == {"tasks": []}
    words = [word if word != "out.json" else "out.zip" for word in annotate(run, "--images")]
    assert "and 4 images to out.zip" in run.ok(*words).out


def test_one_line_answers_in_json(run: Terminal) -> None:
    (run.images / "broken.jpg").write_text("no image")
    said = run(*annotate(run, "--previews", "pictures", "--json"))
    assert said.code == 3
    answer = said.json
    assert answer["job"]["state"] == "succeeded"
    assert [rejected["name"] for rejected in answer["rejected"]] == ["broken.jpg"]
    assert answer["exported"]["shapes"] == sum(answer["shapes_by_label"].values()) == len(exported()["annotations"])
    assert len(answer["previews"]) == 5


def test_labels_are_chosen_suggested_or_left_out(run: Terminal) -> None:
    run.ok(*annotate(run, "--labels", "vehicle,human,a=b", "--map", "car=vehicle", "--map", "tree="))
    shown = run.ok("job", "show", 1, "--json").json["job"]["resolved"]
    assert shown["pairs"] == {"car": "vehicle"}
    run.ok(*annotate(run, "--labels", "vehicle,human", "--accept-suggestions", "0.5", "--map", "tree="))
    pairs = run.ok("job", "show", 2, "--json").json["job"]["resolved"]["pairs"]
    assert pairs["car"] == "vehicle"
    assert pairs["person"] == "human"
    assert "tree" not in pairs


def test_the_last_equals_sign_of_a_pair_parts_it(run: Terminal) -> None:
    said = run.refused(*annotate(run, "--map", "a=b=car"))
    assert "no label 'a=b'" in said.err


def test_what_comes_to_nothing_leaves_no_task_behind(run: Terminal) -> None:
    for _ in range(2):
        said = run.refused(*annotate(run, "--labels", "qqqq"))
        assert "--map" in said.err
    assert run.ok("task", "list", "--json").json == {"tasks": []}


def test_a_task_that_is_named_is_gone_on_with(run: Terminal) -> None:
    run.ok(*annotate(run, "--task", "street"))
    before = len(exported()["annotations"])
    said = run.ok(*annotate(run, "--task", "street", "--clean"))
    assert len(exported()["annotations"]) == before
    assert "job 2" in said.out.lower()
    assert len(run.ok("task", "list", "--json").json["tasks"]) == 1
    assert "other labels" in run.refused(*annotate(run, "--task", "street", "--labels", "car")).err
    run.refused(*annotate(run, "--task", "street", "--map", "car=nosuch"))
    assert len(run.ok("task", "list", "--json").json["tasks"]) == 1


def test_a_new_task_is_named_after_its_images_and_never_twice(run: Terminal) -> None:
    for _ in range(2):
        run.ok(*annotate(run))
    assert [task["name"] for task in run.ok("task", "list", "--json").json["tasks"]] == ["images", "images-2"]


def test_a_failed_job_exports_nothing_and_says_how_to(run: Terminal) -> None:
    run.ok("model", "add", run.model)
    shutil.rmtree(run.model)
    said = run("annotate", run.images, "--model", "detector", "--out", "out.json")
    assert said.code == 4
    assert "hubbridge task export 1 --out out.json" in said.out
    assert not Path("out.json").exists()
