"""Label configs as people write them, and as nobody should."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.label_studio.config import SHAPE_OF, Control, ImageTag, read_config
from bridge.label_studio.labels import joint_pairs, skeleton_controls, task_labels
from tests.unit.bridge.label_studio.configs import EVERYTHING, POSE, STREET
from tests.unit.bridge.world import CARD


def test_controls_labels_and_images() -> None:
    config = read_config(EVERYTHING)
    assert config.images == (ImageTag("img", "image"), ImageTag("side", "side"))
    assert [(c.name, c.kind, c.to_name) for c in config.controls] == [
        ("box", "rectanglelabels", "img"),
        ("poly", "polygonlabels", "img"),
        ("brush", "brushlabels", "img"),
        ("kp", "keypointlabels", "img"),
        ("quality", "choices", "img"),
        ("things", "choices", "img"),
        ("sidebox", "rectanglelabels", "side"),
    ]
    box = config.controls[0]
    assert box.labels == {"Car": "Car", "A person": "person"}  # a region holds the alias
    assert [c.multiple for c in config.controls if c.kind == "choices"] == [False, True]
    assert config.on("side") == [config.controls[-1]]
    text = " ".join(config.left_out)
    assert "Labels 'old'" in text
    assert "'per'" in text
    assert "'dynamic'" in text
    assert "'nowhere'" in text
    assert "'pages'" in text
    assert "TextArea" not in text  # what no model here answers needs no word


def test_a_control_on_two_images_is_two() -> None:
    config = read_config(
        '<View><Image name="a" value="$x"/><Image name="b" value="$y"/>'
        '<Choices name="c" toName="a,b"><Choice value="good"/></Choices></View>'
    )
    assert config.controls == tuple(Control("c", image, "choices", {"good": "good"}) for image in "ab")


@pytest.mark.parametrize(
    ("xml", "word"),
    [
        ("", "cannot be read"),
        ("no xml", "cannot be read"),
        ("<View>", "cannot be read"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>', "<!DOCTYPE"),
        ("<View>" + " " * 2**20 + "</View>", "characters"),
        ("<a>" * 5000 + "</a>" * 5000, "cannot be read"),
    ],
)
def test_refused(xml: str, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word) as refusal:
        read_config(xml)
    assert refusal.value.code == "invalid_label_config"


def test_an_encoding_may_be_named() -> None:
    assert read_config('<?xml version="1.0" encoding="utf-8"?>' + STREET) == read_config(STREET)


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
tags = st.sampled_from(
    ["RectangleLabels", "rectanglelabels", "PolygonLabels", "Choices", "Labels", "View", "Brush", "X"]
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    def quoted(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")

    parts = []
    for _ in range(draw(st.integers(0, 4))):
        tag, name, to = draw(tags), draw(names), draw(st.sampled_from(["img", "", "img,img", "other"]))
        labels = "".join(
            f'<{draw(st.sampled_from(["Label", "Choice", "label"]))} value="{quoted(draw(names))}" '
            f'alias="{quoted(draw(names))}"/>'
            for _ in range(draw(st.integers(0, 3)))
        )
        parts.append(f'<{tag} name="{quoted(name)}" toName="{to}">{labels}</{tag}>')
    image = draw(st.sampled_from(['<Image name="img" value="$image"/>', '<Image name="img" value="x"/>', ""]))
    return f"<View>{image}{''.join(parts)}</View>" + draw(st.sampled_from(["", "", "<x/>", "&amp;"]))


@settings(max_examples=150)
@given(st.one_of(configs(), st.text(max_size=60)))
def test_any_config_is_read_or_refused(xml: str) -> None:
    try:
        config = read_config(xml)
    except InvalidRequest:
        return
    for control in config.controls:
        assert control.kind in SHAPE_OF
        assert control.labels
        assert any(image.name == control.to_name for image in config.images)
    labels = task_labels(config)
    assert len({label.name for label in labels}) == len(labels)


def test_labels_of_a_task() -> None:
    labels = {label.name: label for label in task_labels(read_config(EVERYTHING))}
    assert labels["Car"].type == "any"  # a rectangle or a polygon
    assert labels["Road"].type == "mask"
    assert labels["good"].type == "tag"
    assert labels["Nose"].type == "points"
    assert labels["kp"].sublabels == ("Nose", "Left Eye")
    assert len({label.color for label in labels.values()}) == len(labels)


def test_a_pose_models_joints_find_the_points() -> None:
    config = read_config(POSE)
    settings_ = {"sublabels": ["nose", "left_eye", "right_eye"]}
    card = type(CARD)(**{**_fields(CARD), "labels": ("person",), "shape_types": ("skeleton",), "settings": settings_})
    assert joint_pairs(card, task_labels(config)) == {"person": "kp"}
    assert joint_pairs(CARD, task_labels(config)) == {}
    assert skeleton_controls(config)["kp"].name == "kp"


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['label_studio_sdk'] = None\n"
        "import bridge.app, bridge.web.server\n"
        "from bridge.label_studio.config import read_config, LabelStudioMissing\n"
        "try: read_config('<View/>')\n"
        "except LabelStudioMissing as error: print(error.hint)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'hubbridge[label-studio]'" in ran.stdout


def _fields(card: object) -> dict[str, object]:
    return {name: getattr(card, name) for name in type(card).__dataclass_fields__}


def test_what_differs_from_task_to_task_is_said() -> None:
    config = read_config(
        '<View><Repeater on="$pages" indexFlag="{{idx}}"><Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>'
        '<RectangleLabels name="box_{{idx}}" toName="page_{{idx}}"><Label value="Car"/></RectangleLabels></Repeater>'
        '<Image name="i" value="$i"/><Choices name="each" toName="i" perRegion="True"><Choice value="x"/></Choices>'
        "</View>"
    )
    assert not config.controls
    assert "stands in a Repeater" in config.left_out[0]
    assert "single regions" in config.left_out[-1]


@pytest.mark.parametrize(
    "value", ["A &amp; B", "&lt;x&gt;", "&#x1F600;", "  a  b ", "q&quot;q", "x=y", "&#10;", "汽车"]
)
def test_odd_labels_are_kept_letter_by_letter(value: str) -> None:
    xml = STREET.replace('value="Car"', f'value="{value}"')
    (control,) = read_config(xml).controls
    shown = ElementTree.fromstring(f'<a value="{value}"/>').get("value")
    assert list(control.labels) == [shown, "Person"]
    assert control.labels[shown] == shown
