import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.domain import LabelAttribute
from bridge.errors import InvalidRequest
from bridge.skeleton_drawing import skeleton_svg
from bridge.task_labels import color_of, labels_as_json, labels_from_json, parse_labels

CVAT = [
    {
        "id": 12,
        "name": "car",
        "color": "#33AAFF",
        "type": "rectangle",
        "attributes": [
            {
                "id": 3,
                "name": "make",
                "mutable": False,
                "input_type": "select",
                "default_value": "vw",
                "values": ["vw", "bmw"],
            },
            {"name": "parked", "mutable": True, "input_type": "checkbox", "values": [False]},
        ],
    },
    {
        "name": "person",
        "type": "skeleton",
        "svg": "<line/>",
        "sublabels": [{"name": "nose", "type": "points"}, {"name": "tail", "type": "points"}],
    },
    {"name": "road"},
]


def test_a_list_gives_labels_of_any_type_or_the_type_behind_a_colon() -> None:
    labels = parse_labels(" car , traffic light:rectangle,road:mask")
    assert [(label.name, label.type) for label in labels] == [
        ("car", "any"),
        ("traffic light", "rectangle"),
        ("road", "mask"),
    ]


def test_a_file_has_a_label_a_line_and_comments(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\ufeff# our labels\ncar\n\n  big, red bus  # with a comma\nC#\nroad:mask\r\n")
    labels = parse_labels(str(tmp_path / "labels.txt"))
    assert [(label.name, label.type) for label in labels] == [
        ("car", "any"),
        ("big, red bus", "any"),
        ("C#", "any"),
        ("road", "mask"),
    ]


@pytest.mark.parametrize("inline", [True, False])
def test_cvat_constructor_json_is_read_inline_and_from_a_file(tmp_path: Path, inline: bool) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(CVAT))
    car, person, road = parse_labels(json.dumps(CVAT) if inline else str(tmp_path / "labels.json"))
    assert (car.name, car.type, car.color, car.id) == ("car", "rectangle", "#33aaff", 0)
    assert car.attributes == (
        LabelAttribute("make", "select", ("vw", "bmw"), False, "vw"),
        LabelAttribute("parked", "checkbox", ("false",), True, ""),
    )
    assert (person.type, person.sublabels) == ("skeleton", ("nose", "tail"))
    assert road.type == "any"


def test_labels_go_to_cvat_json_and_come_back_the_same() -> None:
    labels = labels_from_json(CVAT)
    assert labels_from_json(json.loads(json.dumps(labels_as_json(labels)))) == labels
    skeleton = labels_as_json(labels)[1]
    assert skeleton["svg"].count("<circle") == 2
    assert 'data-label-name="tail"' in skeleton["svg"]


def test_names_are_quoted_in_a_skeletons_drawing() -> None:
    assert 'data-label-name="&lt;&quot;&amp;"' in skeleton_svg(['<"&'])


def test_colours_are_the_same_every_time_and_differ_from_label_to_label() -> None:
    names = ",".join(f"l{i}" for i in range(80))
    colors = [label.color for label in parse_labels(names)]
    assert colors == [label.color for label in parse_labels(names)]
    assert len(set(colors)) == 80
    first = [tuple(int(color_of(i)[at : at + 2], 16) for at in (1, 3, 5)) for i in range(12)]
    assert min(sum(abs(a - b) for a, b in zip(p, q, strict=True)) for p in first for q in first if p != q) > 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No label"),
        ("car,,bus", "empty name"),
        ("car,bus,car", "two labels named 'car'"),
        ("x" * 65, "longer than 64"),
        ("car:blob", "'car' has the unknown type 'blob'"),
        ("person:skeleton", "'person' is a skeleton"),
        ("a\x00b", "cannot be printed"),
        ("missing.txt", "no label file missing.txt"),
        ("[{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "No label"),
        ("{}", "must be a JSON list"),
        ("[1]", "Label 1 is neither"),
        ('[{"name": 3}]', "Label 1 has no name"),
        ('[{"name": "car", "color": "red"}]', "'car' has a colour"),
        ('[{"name": "car", "type": ["x"]}]', "'car' has the unknown type"),
        ('[{"name": "car", "type": "skeleton"}]', "'car' is a skeleton without sublabels"),
        ('[{"name": "car", "type": "mask", "sublabels": ["a"]}]', "'car' has sublabels but"),
        ('[{"name": "car", "sublabels": 3}]', "'car' has sublabels that are no list"),
        ('[{"name": "car", "sublabels": ["a", "a"]}]', "'car' has two sublabels named 'a'"),
        ('[{"name": "car", "attributes": 3}]', "'car' has attributes that are no list"),
        ('[{"name": "car", "attributes": [{"name": "a"}, {"name": "a"}]}]', "two attributes named 'a'"),
        ('[{"name": "car", "attributes": [{"name": "a", "input_type": "x"}]}]', "unknown input type 'x'"),
        ('[{"name": "car", "attributes": [{"name": "a", "input_type": "radio"}]}]', "no values to choose"),
        ('[{"name": "car", "attributes": [{"name": "a", "values": [[]]}]}]', "no list of texts"),
        ('[{"name": "car", "attributes": [{"name": "a", "mutable": 1}]}]', "wrong mutable"),
    ],
)
def test_wrong_labels_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_labels(text)


def test_a_binary_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest, match=r"labels\.txt cannot be read as text"):
        parse_labels(str(tmp_path / "labels.txt"))


@given(st.text())
@example("\x00")
@example("a" * 5000)
@example("[1e999]")
def test_any_text_gives_labels_or_a_refusal(text: str) -> None:
    try:
        labels = parse_labels(text)
    except InvalidRequest:
        return
    assert labels
    assert all(0 < len(label.name) <= 64 and label.color for label in labels)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "type", "color", "attributes", "sublabels", "values", "input_type"]), inner
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gives_labels_or_a_refusal(data: object) -> None:
    try:
        labels = labels_from_json(data)
    except InvalidRequest:
        return
    assert labels_from_json(labels_as_json(labels)) == labels
