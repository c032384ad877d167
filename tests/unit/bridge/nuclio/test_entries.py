"""The strict checker: what passes, CVAT reads; what CVAT could not read, does not pass. And reasons and bodies."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.domain import LabelAttribute, TaskLabel
from bridge.nuclio.bodies import read_timeout
from bridge.nuclio.entries import Entry, check_entry
from bridge.nuclio.reasons import MOST, reason_phrase
from tests.servers.cvat_lambda_manager import CvatFails, read_function

LABELS = (
    TaskLabel("car", "rectangle", attributes=(LabelAttribute("color", "select", ("red", "blue")),)),
    TaskLabel("person", "skeleton", sublabels=("nose", "left_eye", "right_eye")),
)
GOOD = Entry("rt-detr", "detector", "RT-DETR", "finds things", "onnxruntime", LABELS).as_json(8070)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in paths(each, (*path, key)))]


def spoilt(path: tuple[Any, ...], value: Any, *, remove: bool) -> dict[str, Any]:
    """The entry, with its spec unfolded, changed at a place."""
    entry = copy.deepcopy(GOOD)
    entry["metadata"]["annotations"]["spec"] = json.loads(entry["metadata"]["annotations"]["spec"])
    place: Any = entry
    for key in path[:-1]:
        place = place[key]
    if remove and isinstance(place, dict):
        place.pop(path[-1])
    else:
        place[path[-1]] = value
    spec = entry.get("metadata", {})
    annotations = spec.get("annotations") if isinstance(spec, dict) else None
    if isinstance(annotations, dict) and not isinstance(annotations.get("spec"), str) and "spec" in annotations:
        annotations["spec"] = json.dumps(annotations["spec"])
    return entry


UNFOLDED = copy.deepcopy(GOOD)
UNFOLDED["metadata"]["annotations"]["spec"] = json.loads(GOOD["metadata"]["annotations"]["spec"])
WRONG = st.none() | st.integers() | st.text(max_size=4) | st.sampled_from([[], {}, [1], "car", "color", "nose", "any"])


def test_a_good_entry_passes_and_is_read() -> None:
    check_entry(GOOD)
    function = read_function(GOOD)
    assert (function.id, function.kind, function.name, function.port) == ("rt-detr", "detector", "RT-DETR", 8070)


@settings(max_examples=400)
@given(path=st.sampled_from([path for path in paths(UNFOLDED) if path]), value=WRONG, remove=st.booleans())
def test_what_passes_is_read_by_cvat(path: tuple[Any, ...], value: Any, remove: bool) -> None:
    entry = spoilt(path, value, remove=remove)
    try:
        check_entry(entry)
    except ValueError:
        return
    read_function(entry)  # CvatFails fails the test


@pytest.mark.parametrize(
    "labels",
    [
        (TaskLabel("car"), TaskLabel("car")),
        (TaskLabel(""),),
        (TaskLabel("person", "skeleton"),),
        (TaskLabel("person", "skeleton", sublabels=("a", "a")),),
        (TaskLabel("road", "polyline"),),
        (TaskLabel("car", attributes=(LabelAttribute("a", "text", ()), LabelAttribute("a", "text", ()))),),
        (TaskLabel("car", attributes=(LabelAttribute("a", "any", ()),)),),
        (TaskLabel("\ud800"),),
    ],
    ids=repr,
)
def test_labels_that_would_break_the_list_do_not_pass(labels: tuple[TaskLabel, ...]) -> None:
    with pytest.raises(ValueError):
        check_entry(Entry("x", "detector", "x", "", "y", labels).as_json(1))


@pytest.mark.parametrize("function_id", ["a b", "", "a/b", "ä"])
def test_ids_that_cvats_urls_do_not_take_do_not_pass(function_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        check_entry(Entry(function_id, "detector", "x", "", "y").as_json(1))


def test_the_stand_in_refuses_what_cvat_refuses() -> None:
    for path in (("metadata", "annotations", "type"), ("status",), ("spec", "description"), ("metadata", "name")):
        with pytest.raises(CvatFails):
            read_function(spoilt(path, None, remove=True))


@given(st.text(max_size=400), st.text(max_size=100))
def test_a_reason_is_one_short_ascii_line(message: str, hint: str) -> None:
    reason = reason_phrase(message, hint)
    assert 0 < len(reason) <= MOST
    assert reason.isascii() and reason.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ask https://me:k3y@host.example:8443/a/b?api_key=k3y#k3y now.", "Ask https://host.example:8443 now."),
        ("http://k3y@h/ (x)", "http://h (x)"),
        ("See HTTPS://a:b@c@host/x, please", "See HTTPS://host please"),
        ("Größe – “ja”…\n2", 'Grosse - "ja"... 2'),
        ("", "Something went wrong; Hubbridge's log says more."),
    ],
)
def test_of_an_address_only_the_host_stays(text: str, reason: str) -> None:
    assert reason_phrase(text) == reason


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120s", 120), ("1m30s", 90), ("1500ms", 1.5), ("0.5h", 1800), ("9h", 3600), ("2m", 120)]
    + [(wrong, 77) for wrong in (None, "", "120", "s", "-5s", "0s", "1s2", "NaNs", "1e9s", "١s")],
)
def test_the_time_that_cvat_waits_is_read_as_go_writes_it(header: str | None, seconds: float) -> None:
    assert read_timeout(header, 77) == seconds
