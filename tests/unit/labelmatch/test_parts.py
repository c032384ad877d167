"""Attributes, skeletons, the lexicon, the vocabulary, and the translation table."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

from labelmatch import Attribute, match_attributes, match_sublabels
from labelmatch.lexicon import VOCABULARY_FILE, WORDNET_FILE, lexicon
from labelmatch.make_lexicon import build
from labelmatch.translations import coco_names
from labelmatch.vocabulary import Kind, read_vocabulary

COCO = Path(__file__).parents[3] / "examples" / "labels" / "coco.txt"
COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
    " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)


class TestAttributes:
    def test_synonyms_of_name_and_values(self) -> None:
        (match,) = match_attributes(
            [Attribute("gender", "select", ("m", "f"))], [Attribute("Sex", "radio", ("female", "male"))]
        )
        assert (match.model_attribute, match.task_attribute) == ("gender", "Sex")
        assert match.values == (("m", "male"), ("f", "female"))
        assert not match.accepted
        assert 0.9 <= match.score <= 1

    def test_same_name_and_values_are_accepted(self) -> None:
        (match,) = match_attributes(
            [Attribute("Color", "select", ("Red", "blue"))], [Attribute("color", "select", ("blue", "red"))]
        )
        assert match.accepted
        assert match.values == (("Red", "red"), ("blue", "blue"))

    def test_same_name_with_missing_value_is_not_accepted(self) -> None:
        (match,) = match_attributes(
            [Attribute("color", "select", ("red", "green"))], [Attribute("color", "select", ("red", "blue"))]
        )
        assert not match.accepted

    def test_nearly_all_values_are_enough(self) -> None:
        (match,) = match_attributes(
            [Attribute("who", "select", ("male", "female"))], [Attribute("kind of rider", "select", ("m", "f"))]
        )
        assert match.reason == "the same values"

    @pytest.mark.parametrize(
        ("model", "task"),
        [
            (Attribute("gender", "number"), Attribute("sex", "select", ("m", "f"))),
            (Attribute("color", "text"), Attribute("color", "checkbox")),
            (Attribute("age", "number"), Attribute("color", "number")),
            (Attribute("occluded", "checkbox"), Attribute("occluded", "select", ("no", "partly", "fully"))),
        ],
    )
    def test_what_does_not_fit(self, model: Attribute, task: Attribute) -> None:
        assert match_attributes([model], [task]) == []

    def test_checkbox_and_a_choice_of_two(self) -> None:
        (match,) = match_attributes(
            [Attribute("is_occluded", "checkbox")], [Attribute("occluded", "select", ("yes", "no"))]
        )
        assert match.values == (("true", "yes"), ("false", "no"))

    def test_each_is_used_once(self) -> None:
        found = match_attributes([Attribute("sex"), Attribute("gender")], [Attribute("gender")])
        assert [(one.model_attribute, one.task_attribute) for one in found] == [("gender", "gender")]

    def test_nothing(self) -> None:
        assert match_attributes([], [Attribute("a")]) == match_attributes([Attribute("a")], []) == []
        assert match_attributes([Attribute("")], [Attribute("b", "select", ("",))]) == []


class TestSublabels:
    @pytest.mark.parametrize(
        "other", ["l elbow", "L_Elbow", "elbow left", "LElbow", "leftElbow", "left-elbow", "leftelbow"]
    )
    def test_ways_to_write_a_side(self, other: str) -> None:
        assert match_sublabels(("left_elbow",), ("right elbow", other)) == {"left_elbow": other}

    def test_all_of_coco(self) -> None:
        names = tuple(COCO_17.split())
        short = tuple(name.replace("left_", "l ").replace("right_", "r ") for name in names)
        assert match_sublabels(names, short) == dict(zip(names, short, strict=True))

    def test_each_point_is_used_once(self) -> None:
        assert match_sublabels(("left_eye", "l_eye"), ("eye left",)) == {"left_eye": "eye left"}

    def test_sides_are_never_mixed(self) -> None:
        assert match_sublabels(("left_knee",), ("right_knee", "knee")) == {}


class TestLexicon:
    def test_kinds_stand_above(self) -> None:
        known = lexicon()
        (vehicle, *_), (truck, *_) = known.senses("vehicle"), known.senses("truck")
        assert known.path(truck.node)[vehicle.node] > 0
        assert known.path(truck.node)[truck.node] == 0

    def test_weights_add_up(self) -> None:
        for phrase in ("mouse", "bank", "traffic light", "crane", "e scooter"):
            assert sum(sense.weight for sense in lexicon().senses(phrase)) == pytest.approx(1)
        assert lexicon().senses("no such phrase") == ()

    @pytest.mark.parametrize(
        ("plural", "singular"),
        [
            ("traffic lights", "traffic light"),
            ("buses", "bus"),
            ("children", "child"),
            ("knives", "knife"),
            ("policemen", "policeman"),
            ("bus", "bus"),
            ("qxzs", "qxzs"),
        ],
    )
    def test_singular(self, plural: str, singular: str) -> None:
        assert lexicon().singular(plural) == singular

    def test_plural_words_stay(self) -> None:
        assert lexicon().find("scissors") in {"scissors", "scissor"}
        assert lexicon().find("glasses") == "glasses"
        assert lexicon().find("pliers") == "pliers"

    def test_information_is_a_share(self) -> None:
        values = lexicon().information
        assert len(values) == lexicon().node_count
        assert np.all((values >= 0) & (values <= 1))

    def test_licence_is_kept(self) -> None:
        text = (WORDNET_FILE.parent / "WORDNET-LICENSE.txt").read_text(encoding="utf-8")
        assert "WordNet 3.0 Copyright 2006 by Princeton University" in text

    def test_made_from_wordnets_files(self, tmp_path: Path) -> None:
        licence = "  1 This software and database is being provided to you\n"
        lines = {
            "data.noun": "00000001 03 n 01 entity 0 000 | g\n"
            "00000002 05 n 02 dog 0 hound 0 001 @ 00000001 n 0000 | g\n"
            "00000003 14 n 01 taxonomic_group 0 001 @ 00000001 n 0000 | g\n"
            "00000004 05 n 01 genus_Canis 0 001 @ 00000003 n 0000 | g\n",
            "index.noun": "dog n 1 1 @ 1 1 00000002\nentity n 1 0 1 0 00000001\ngenus_canis n 1 1 @ 1 0 00000004\n"
            "hound n 1 1 @ 1 0 00000002\ntaxonomic_group n 1 1 @ 1 0 00000003\n",
            "noun.exc": "oxen ox\n",
        }
        for name, text in lines.items():
            (tmp_path / name).write_text(licence + text, encoding="latin-1")
        (tmp_path / "cntlist.rev").write_text("dog%1:05:00:: 1 42\nrun%2:38:00:: 1 7\n", encoding="latin-1")
        arrays = build(tmp_path)
        assert arrays["lemmas"].tobytes().decode().split("\n") == [
            "dog",
            "entity",
            "genus canis",
            "hound",
            "taxonomic group",
        ]
        assert arrays["tags"].tolist() == [42, 0, 0, 0, 0]
        assert arrays["sizes"].tolist() == [4, 1, 2, 1]
        assert arrays["files"].tolist() == [3, 5, 14, 14]
        assert arrays["plurals"].tobytes().decode() == "oxen\tox"


class TestVocabulary:
    def test_format(self, tmp_path: Path) -> None:
        path = tmp_path / "words.txt"
        path.write_text("# remark\na = b\n  = c-d  # more\nx#2, y = z < w\nm#4 ~ k, l\n", encoding="utf-8")
        read = read_vocabulary(path)
        assert read.synonyms == [("a", "b", "c d"), ("y", "z")]
        assert read.kinds == [Kind(("x#2", "y"), "w")]
        assert read.company == {"m#4": ("k", "l")}

    def test_line_that_says_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "words.txt"
        path.write_text("a = b\nnonsense\n", encoding="utf-8")
        with pytest.raises(ValueError, match="line 2"):
            read_vocabulary(path)

    def test_nothing_is_above_itself(self) -> None:
        known = lexicon()
        for kind in read_vocabulary(VOCABULARY_FILE).kinds:
            for child in kind.children:
                phrase = child.partition("#")[0]
                assert known.senses(phrase), phrase

    def test_no_line_says_twice_the_same(self) -> None:
        for group in read_vocabulary(VOCABULARY_FILE).synonyms:
            assert len(set(group)) == len(group), group


def test_translation_table_is_complete() -> None:
    names = set(COCO.read_text(encoding="utf-8").splitlines())
    assert len(names) == 80
    table = coco_names()
    assert set(table) == {"German", "French", "Spanish", "Russian", "Chinese", "Japanese"}
    for language, words in table.items():
        missing = names - set(words.values())
        assert not missing, (language, missing)


@pytest.mark.parametrize("name", ["normalize", "lexicon", "kinds", "matcher"])
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(f"labelmatch.{name}")
    assert doctest.testmod(module).failed == 0
