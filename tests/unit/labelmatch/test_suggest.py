"""What `suggest` promises: the tiers and their reasons, what is accepted, and what is never matched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from labelmatch import DISPLAY_SCORE, Attribute, Label, LearnedPair, Suggestion, suggest

COCO = (Path(__file__).parents[3] / "examples" / "labels" / "coco.txt").read_text(encoding="utf-8").split("\n")[:-1]


def best(model: str, *task: str, **options: object) -> Suggestion | None:
    found = suggest([model], list(task), **options)  # type: ignore[arg-type]
    return found[0] if found else None


def match(model: str, *task: str) -> str | None:
    found = best(model, *task)
    return found.task_label if found else None


@pytest.mark.parametrize(
    ("model", "task", "tier", "accepted"),
    [
        ("car", "car", "exact", True),
        ("Traffic_Light", "traffic light", "normalised", True),
        ("ＣＡＲ", "car", "normalised", True),
        ("STRASSE", "straße", "normalised", True),
        ("traffic\u2011light", "traffic light", "normalised", True),
        ("boots", "boot", "normalised", False),
        ("knives", "knife", "normalised", False),
        ("TrafficLight", "traffic light", "normalised", False),
        ("tvmonitor", "tv monitor", "normalised", False),
        ("wall-other-merged", "wall", "normalised", False),
        ("car_v2", "car", "normalised", False),
        ("n02084071 dog", "dog", "normalised", False),
        ("animal.cat", "cat", "normalised", False),
        ("construction--flat--road", "road", "normalised", False),
        ("tench, Tinca tinca", "tench", "normalised", False),
        ("trash bin/can", "trash can", "normalised", False),
        ("couch", "sofa", "synonym", False),
        ("cell phone", "mobile phone", "synonym", False),
        ("license plate", "number plate", "synonym", False),
        ("car", "vehicle", "hypernym", False),
        ("Chihuahua", "dog", "hypernym", False),
        ("rider", "person", "hypernym", False),
        ("angry bird", "bird", "head noun", False),
        ("red zyxx", "zyxx", "head noun", False),
        ("green-glass", "glass", "head noun", False),
        ("wall-brick", "brick", "head noun", False),
        ("traffic light red", "red traffic light", "head noun", False),
        ("traffic light red", "red light", "head noun", False),
        ("lionMale", "lion", "head noun", False),
        ("Tomato___Late_blight", "tomato", "head noun", False),
        ("Corn_(maize)___healthy", "corn", "head noun", False),
        ("bycicle", "bicycle", "fuzzy", False),
        ("gloevs", "gloves", "fuzzy", False),
        ("persom", "person", "fuzzy", False),
        ("diningtable", "Esstisch", "translation", False),
        ("perros", "dog", "translation", False),
        ("angry", "anger", "synonym", False),
        ("cup of coffee", "cup", "head noun", False),
        ("traffic light red", "traffic light", "head noun", False),
        ("wall-brick", "wall", "head noun", False),
        ("refridgerator", "refrigerator", "fuzzy", False),
        ("Fahrrad", "bicycle", "translation", False),
        ("велосипед", "bicycle", "translation", False),
        ("自行车", "bicycle", "translation", False),
        ("bicycle", "自転車", "translation", False),
    ],
)
def test_tier_and_acceptance(model: str, task: str, tier: str, accepted: bool) -> None:
    found = best(model, task)
    assert found is not None
    assert (found.task_label, found.tier, found.accepted) == (task, tier, accepted)
    assert DISPLAY_SCORE <= found.score <= 1


@pytest.mark.parametrize(
    ("model", "task", "reason"),
    [
        ("couch", "sofa", "synonym: couch = sofa"),
        ("car", "vehicle", "car is a kind of vehicle"),
        ("bicycle", "Fahrrad", "Fahrrad is German for bicycle"),
        ("Hund", "Möbel|Tier", "Hund (dog) is a kind of Tier (animal)"),
        ("angry bird", "bird", "angry bird is a kind of bird"),
    ],
)
def test_reason(model: str, task: str, reason: str) -> None:
    found = best(model, *task.split("|"))
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("LABEL_0", "label 0"),
        ("LABEL_0", "LABEL_1"),
        ("background", "Background"),
        ("__background__", "background"),
        ("void", "unknown"),
        ("unknown", "person"),
        ("DontCare", "car"),
        ("no helmet", "helmet"),
        ("NO-Hardhat", "Hardhat"),
        ("boat", "boot"),
        ("cat", "car"),
        ("toy car", "car"),
        ("teddy bear", "bear"),
        ("zone 1a", "zone 1b"),
        ("left arrow key", "right arrow key"),
        ("toaster", "person"),
        ("hot dog", "dog"),
        ("dog", "hot dog"),
        ("bear", "teddy bear"),
        ("rider", "pedestrian"),
        ("lionMale", "human"),
        ("", "car"),
        ("🚗", "car"),
    ],
)
def test_never_matched(model: str, task: str) -> None:
    assert suggest([model], [task]) == []


@pytest.mark.parametrize("name", ["LABEL_0", "background", "void", "", " ", "🚗", "a\x00b", "نص", "x" * 10_000, "123"])
def test_identical_names_always_match(name: str) -> None:
    (found,) = suggest([name], [name])
    assert (found.tier, found.score, found.accepted) == ("exact", 1.0, True)


def test_exact_beats_equal_after_folding() -> None:
    found = suggest(["Car"], ["car", "Car", "CAR"])
    assert [(one.task_label, one.accepted) for one in found] == [("Car", True), ("CAR", False), ("car", False)]


def test_ambiguous_folding_is_decided_by_name() -> None:
    found = suggest(["caR"], ["car", "Car"])
    assert [(one.task_label, one.accepted) for one in found] == [("Car", True), ("car", False)]


def test_the_most_specific_right_label_wins() -> None:
    assert match("pickup truck", "vehicle", "truck") == "truck"
    assert match("brown bear", "animal", "bear", "mammal") == "bear"
    assert match("man", "human being", "person", "man") == "man"
    assert match("couch", "furniture", "sofa") == "sofa"
    assert match("sedan", "vehicle", "car", "machine") == "car"


def test_several_model_labels_share_a_task_label() -> None:
    found = suggest(["car", "truck", "bus"], ["vehicle"])
    assert [(one.model_label, one.task_label) for one in found] == [
        ("car", "vehicle"),
        ("truck", "vehicle"),
        ("bus", "vehicle"),
    ]


@pytest.mark.parametrize(
    ("word", "company", "task", "meant"),
    [
        ("bat", ["ball", "baseball glove"], ["animal", "sports equipment"], "sports equipment"),
        ("bat", ["owl", "fox"], ["animal", "sports equipment"], "animal"),
        ("mouse", ["keyboard", "laptop"], ["animal", "electronics"], "electronics"),
        ("mouse", ["rat", "hamster"], ["animal", "electronics"], "animal"),
        ("orange", ["banana"], ["fruit", "color"], "fruit"),
        ("crane", ["excavator", "bulldozer"], ["bird", "machine"], "machine"),
        ("crane", ["heron", "stork"], ["bird", "machine"], "bird"),
        ("fish (food)", ["cat", "dog"], ["animal", "food"], "food"),
        ("bat (animal)", ["ball", "baseball glove"], ["animal", "sports equipment"], "animal"),
    ],
)
def test_company_decides_homonyms(word: str, company: list[str], task: list[str], meant: str) -> None:
    found = {one.model_label: one.task_label for one in reversed(suggest([word, *company], task))}
    assert found[word] == meant


def test_coco_in_four_groups() -> None:
    found = {one.model_label: one.task_label for one in suggest(COCO, ["vehicle", "person", "animal", "furniture"])}
    assert {name for name, group in found.items() if group == "animal"} == {
        "bird",
        "cat",
        "dog",
        "horse",
        "sheep",
        "cow",
        "elephant",
        "bear",
        "zebra",
        "giraffe",
    }
    assert {"bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"} <= set(found)
    assert {"chair", "couch", "bed", "dining table", "bench"} == {k for k, v in found.items() if v == "furniture"}
    assert found["person"] == "person"
    assert not {"mouse", "teddy bear", "hot dog", "pizza", "remote", "toaster"} & set(found)


def test_prefix_that_a_list_shares() -> None:
    names = ["TYPE_VEHICLE", "TYPE_PEDESTRIAN", "TYPE_SIGN", "TYPE_CYCLIST"]
    found = {one.model_label: one.task_label for one in reversed(suggest(names, ["vehicle", "cyclist", "pedestrian"]))}
    assert found["TYPE_VEHICLE"] == "vehicle"
    assert found["TYPE_CYCLIST"] == "cyclist"


class TestKinds:
    def test_tag_and_rectangle_never_match(self) -> None:
        assert suggest([Label("car", "tag")], [Label("car", "rectangle")]) == []

    @pytest.mark.parametrize(
        ("model", "task"), [("mask", "polygon"), ("polygon", "mask"), ("any", "tag"), ("rectangle", "any")]
    )
    def test_kinds_that_fit(self, model: str, task: str) -> None:
        (found,) = suggest([Label("car", model)], [Label("car", task)])
        assert found.accepted

    def test_skeletons_need_common_points(self) -> None:
        model = Label("person", "skeleton", sublabels=("left_elbow", "right_elbow", "nose"))
        same = Label("person", "skeleton", sublabels=("l elbow", "r elbow"))
        other = Label("person", "skeleton", sublabels=("tail", "paw"))
        assert suggest([model], [same])[0].accepted
        assert suggest([model], [other]) == []
        assert suggest(["person"], [same]) == []

    def test_one_name_in_two_kinds_comes_once(self) -> None:
        found = suggest(
            [Label("car", "tag"), Label("car", "rectangle")], [Label("car", "rectangle"), Label("car", "tag")]
        )
        assert [(one.model_label, one.task_label) for one in found] == [("car", "car")]


class TestLearned:
    def test_accepted_pair_comes_first(self) -> None:
        found = suggest(["car", "bus"], ["car", "coach"], learned=[LearnedPair("car", "coach", accepted=True)])
        assert [(one.task_label, one.tier, one.accepted) for one in found if one.model_label == "car"] == [
            ("coach", "learned", True),
            ("car", "exact", False),
        ]

    def test_rejected_pair_never_comes(self) -> None:
        assert suggest(["car"], ["car"], learned=[LearnedPair("car", "car", accepted=False)]) == []
        assert suggest(["couch"], ["sofa"], learned=[LearnedPair("couch", "sofa", accepted=False)], min_score=0) == []

    def test_holds_for_names_that_differ_in_case(self) -> None:
        (found,) = suggest(["Gizmo_X"], ["thing"], learned=[LearnedPair("gizmo x", "Thing")])
        assert (found.tier, found.accepted) == ("learned", True)

    def test_the_very_names_beat_like_ones(self) -> None:
        learned = [LearnedPair("car", "auto", accepted=False), LearnedPair("Car", "auto", accepted=True)]
        for order in (learned, learned[::-1]):
            found = {one.model_label: one.tier for one in suggest(["car", "Car"], ["auto"], learned=order)}
            assert found == {"Car": "learned"}

    def test_one_accepted_of_two_learned(self) -> None:
        learned = [LearnedPair("car", "b"), LearnedPair("car", "a")]
        found = suggest(["car"], ["a", "b"], learned=learned)
        assert [(one.task_label, one.accepted) for one in found] == [("a", True), ("b", False)]

    def test_kinds_still_count(self) -> None:
        assert suggest([Label("car", "tag")], [Label("auto", "mask")], learned=[LearnedPair("car", "auto")]) == []


class TestLanguages:
    def test_english_word_of_a_foreign_list(self) -> None:
        task = ["Fahrrad", "Bank", "Hund"]
        found = {one.model_label: one.task_label for one in suggest(["bench", "dog"], task)}
        assert found == {"bench": "Bank", "dog": "Hund"}

    def test_english_word_in_an_english_list(self) -> None:
        assert match("oven", "four", "three", "two") is None

    def test_table_of_ones_own(self) -> None:
        table = {"Dutch": {"fiets": "bicycle"}}
        found = best("bike", "fiets", translations=table)
        assert found is not None
        assert "bicycle" in found.reason

    def test_no_table(self) -> None:
        assert best("bicycle", "Fahrrad", translations={}) is None


class TestEmbeddings:
    VECTORS: ClassVar = {"gizmo": (1.0, 0.1), "thing": (0.9, 0.2), "car": (0.0, 1.0), "vehicle": (1.0, 0.0)}

    def embed(self, names: Sequence[str]) -> NDArray[np.floating]:
        return np.array([self.VECTORS[name] for name in names])

    def test_only_what_nothing_else_matches(self) -> None:
        found = suggest(["gizmo", "car"], ["thing", "vehicle"], embed=self.embed, min_score=0.3)
        assert [(one.model_label, one.task_label, one.tier) for one in found] == [
            ("gizmo", "vehicle", "semantic"),
            ("car", "vehicle", "hypernym"),
        ]
        assert found[0].score <= 0.8
        assert not found[0].accepted

    @pytest.mark.parametrize("answer", [np.zeros(2), np.zeros((5, 3)), np.full((1, 2), np.nan)])
    def test_bad_embedding(self, answer: NDArray[np.floating]) -> None:
        with pytest.raises(ValueError, match="embed"):
            suggest(["gizmo"], ["thing"], embed=lambda names: answer)


@pytest.mark.parametrize(
    ("model", "task", "options"),
    [
        ("car", ["car"], {}),
        (["car"], "car", {}),
        (None, ["car"], {}),
        (["car"], iter(["car"]), {}),
        ([1], ["car"], {}),
        (["car"], [None], {}),
        (["car"], ["car"], {"min_score": 2}),
        (["car"], ["car"], {"min_score": float("nan")}),
        (["car"], ["car"], {"min_score": None}),
        (["car"], ["car"], {"min_score": "a"}),
        (["car"], ["car"], {"learned": None}),
        (["car"], ["car"], {"learned": [("a", "b", True)]}),
        (["car"], ["car"], {"learned": [LearnedPair("a", 1)]}),  # type: ignore[arg-type]
        (["car"], ["car"], {"translations": "abc"}),
        (["car"], ["car"], {"translations": {"x": None}}),
        (["car"], ["car"], {"translations": {"x": {1: 2}}}),
        ([str(n) for n in range(50_001)], ["car"], {}),
    ],
)
def test_refused(model: object, task: object, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"label|min_score|learned|translations"):
        suggest(model, task, **options)  # type: ignore[arg-type]


def test_labels_that_differ_in_their_attributes_alone() -> None:
    twice = [Label("car"), Label("car", attributes=(Attribute("color", "text"),))]
    assert [(s.model_label, s.task_label) for s in suggest(twice, twice)] == [("car", "car")]


def test_empty_lists() -> None:
    assert suggest([], ["car"]) == suggest(["car"], []) == suggest([], []) == []
