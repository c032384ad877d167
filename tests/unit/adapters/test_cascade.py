"""A detector and what looks at its crops: attributes, numbers, poses, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import Context, Detections, Limits, ModelCard, PredictOptions, Skeleton, WholeFrame
from adapters.cards import card_as_json, card_from_json
from adapters.cascade import Cascades
from adapters.cascade_predictor import Asked, CascadePredictor, cut_out
from adapters.errors import BadFrame, BadOutput, InvalidReference, PredictorError, Unsupported
from adapters.frame import Frame
from adapters.references import Cascade, parse_reference
from adapters.references.cascade import AttributeBy
from tests import architectures as known
from tests import models

CARD = ModelCard("m", "file", "./m.onnx", "1", "object-detection", ("car", "person"), ("rectangle",), "onnxruntime")
TAGS = replace(CARD, labels=("red", "green", "blue"), shape_types=("tag",), task_type="image-classification")
EVERYTHING = PredictOptions(floor_score=0.0)


class Fixed:
    """A predictor of a test: ``answer`` says what is found on a picture."""

    def __init__(self, card: ModelCard, answer: Any) -> None:
        self.card, self.answer, self.calls, self.closed = card, answer, [], 0
        self.options: list[PredictOptions] = []

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        self.calls.append([(frame.id, frame.width, frame.height) for frame in frames])
        self.options.append(options)
        return [self.answer(frame) for frame in frames]

    async def close(self) -> None:
        self.closed += 1


def boxes_of(*boxes: Sequence[float], labels: Sequence[int] = ()) -> Detections:
    n = len(boxes)
    return Detections(
        ("car", "person"), np.array(boxes).reshape(-1, 4), np.linspace(0.9, 0.5, n), np.array(labels or [0] * n, int)
    )


def colour(frame: Frame) -> Detections:
    """Tags of the brightest channel first, with its share as the score."""
    means = frame.pixels.reshape(-1, 3).mean(axis=0) + 1e-6
    order = np.argsort(-means, kind="stable")
    boxes = np.tile([0, 0, frame.width, frame.height], (3, 1))
    return Detections(("red", "green", "blue"), boxes, (means / means.sum())[order], order, (WholeFrame(),) * 3)


def painted(*areas: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> Frame:
    pixels = np.zeros((60, 80, 3), np.uint8)
    for (x1, y1, x2, y2), paint in areas:
        pixels[y1:y2, x1:x2] = paint
    return Frame("street.png", 80, 60, pixels=pixels)


def cascade(found: Any, *asked: tuple[AttributeBy, Any], margin: float = 0.0) -> CascadePredictor:
    detector = found if isinstance(found, Fixed) else Fixed(CARD, lambda frame: found)
    return CascadePredictor(CARD, detector, [Asked(by, model) for by, model in asked], None, margin)  # type: ignore[arg-type]


async def test_each_shape_gets_what_its_own_crop_says() -> None:
    frame = painted(((0, 0, 20, 20), (250, 0, 0)), ((40, 0, 60, 30), (0, 0, 250)))
    classifier = Fixed(TAGS, colour)
    made = cascade(boxes_of([40, 0, 60, 30], [0, 0, 20, 20]), (AttributeBy("colour", "m"), classifier))
    (found,) = await made.predict([frame], EVERYTHING)
    assert found.attributes == ({"colour": "blue"}, {"colour": "red"})
    assert classifier.calls == [[("street.png, object 1", 20, 30), ("street.png, object 2", 20, 20)]]


async def test_crops_of_many_frames_share_calls_and_find_their_way_back() -> None:
    paints = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [painted(((0, 0, 80, 60), paints[i % 3])) for i in range(7)]
    classifier = Fixed(TAGS, colour)
    made = cascade(boxes_of(*[[5, 5, 20, 20]] * 9), (AttributeBy("colour", "m"), classifier))
    found = await made.predict(frames, EVERYTHING)
    assert [each.attributes[8]["colour"] for each in found] == ["red", "green", "blue"] * 2 + ["red"]
    assert [len(call) for call in classifier.calls] == [32, 31]


async def test_frames_without_a_shape_ask_no_classifier() -> None:
    classifier = Fixed(TAGS, colour)
    made = cascade(boxes_of(), (AttributeBy("colour", "m"), classifier))
    (found,) = await made.predict([painted()], EVERYTHING)
    assert len(found) == len(classifier.calls) == 0


async def test_a_classifier_is_for_some_labels_and_below_its_threshold_says_nothing() -> None:
    frame = painted(((0, 0, 20, 20), (250, 0, 0)), ((40, 0, 60, 30), (90, 80, 80)))
    found = boxes_of([0, 0, 20, 20], [0, 0, 20, 20], [40, 0, 60, 30], labels=[0, 1, 1])
    people = AttributeBy("coat", "m", labels=("person",), threshold=0.6)
    made = cascade(found, (people, Fixed(TAGS, colour)), (AttributeBy("paint", "m", "text"), Fixed(TAGS, colour)))
    (answer,) = await made.predict([frame], EVERYTHING)
    assert answer.attributes == ({"paint": "red"}, {"coat": "red", "paint": "red"}, {"paint": "red"})


async def test_what_the_detector_itself_says_stays() -> None:
    found = replace(boxes_of([0, 0, 20, 20]), attributes=({"occluded": "true", "colour": "grey"},))
    frame = painted(((0, 0, 20, 20), (0, 250, 0)))
    (answer,) = await cascade(found, (AttributeBy("colour", "m"), Fixed(TAGS, colour))).predict([frame], EVERYTHING)
    assert answer.attributes == ({"occluded": "true", "colour": "green"},)


@pytest.mark.parametrize(
    ("box", "margin", "size"),
    [
        ((10.4, 10.6, 20.2, 30.0), 0.0, (11, 20)),
        ((20, 20, 40, 40), 0.25, (30, 30)),
        ((0, 0, 80, 60), 1.0, (80, 60)),
        ((70, 50, 80, 60), 0.5, (15, 15)),
        ((79.9, 59.9, 80, 60), 0.0, (1, 1)),
        ((0, 0, 0.01, 0.01), 0.0, (1, 1)),
    ],
)
def test_crops_have_margins_and_stay_within_the_frame(
    box: tuple[float, ...], margin: float, size: tuple[int, int]
) -> None:
    picture = cut_out(painted(), np.array(box, np.float32), margin, 0)
    assert (picture.width, picture.height) == size
    assert picture.pixels.shape == (size[1], size[0], 3)


async def test_numbers_are_the_mean_of_labels_that_are_numbers() -> None:
    def ages(frame: Frame) -> Detections:
        boxes = np.tile([0, 0, frame.width, frame.height], (3, 1))
        return Detections(("20", "30", "40"), boxes, [0.5, 0.25, 0.25], [0, 1, 2], (WholeFrame(),) * 3)

    made = cascade(boxes_of([0, 0, 20, 20]), (AttributeBy("age", "m", "number"), Fixed(TAGS, ages)))
    (answer,) = await made.predict([painted()], EVERYTHING)
    assert answer.attributes == ({"age": "28"},)  # 27.5


async def test_a_crop_that_fails_is_its_frames_fault() -> None:
    def failing(frame: Frame) -> Detections:
        if frame.id.startswith("second"):
            raise BadFrame(frame.id, "It is all black.")
        return colour(frame)

    frames = [painted(), Frame("second", 80, 60, pixels=painted().pixels)]
    made = cascade(boxes_of([0, 0, 20, 20]), (AttributeBy("colour", "m"), Fixed(TAGS, failing)))
    with pytest.raises(BadFrame, match="all black") as caught:
        await made.predict(frames, EVERYTHING)
    assert caught.value.frame_id == "second"


@pytest.mark.parametrize("who", ["detector", "classifier"])
async def test_too_few_answers_are_bad_output(who: str) -> None:
    class Short(Fixed):
        async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
            return (await super().predict(frames, options))[1:]

    kinds = {"detector": Fixed, "classifier": Fixed} | {who: Short}
    detector = kinds["detector"](CARD, lambda frame: boxes_of([0, 0, 20, 20], [5, 5, 9, 9]))
    made = cascade(detector, (AttributeBy("colour", "m"), kinds["classifier"](TAGS, colour)))
    with pytest.raises(BadOutput, match="results for"):
        await made.predict([painted()], EVERYTHING)


async def test_closing_closes_all_parts() -> None:
    detector, classifier = Fixed(CARD, None), Fixed(TAGS, None)
    async with cascade(detector, (AttributeBy("colour", "m"), classifier)):
        pass
    assert (detector.closed, classifier.closed) == (1, 1)


async def test_parts_that_were_opened_are_closed_where_a_later_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = models.write_yolo(tmp_path / "d.onnx")
    classifier = models.write_colour_classifier(tmp_path / "c.onnx")
    context = Context(tmp_path / "cache")
    card = await Cascades().resolve(Cascade(str(detector), (AttributeBy("colour", str(classifier)),)), context)
    classifier.unlink()
    closed = []
    monkeypatch.setattr("adapters.local.LocalPredictor._shut_down", lambda self: closed.append(self.card.name))
    with pytest.raises(PredictorError, match="gone"):
        await Cascades().open(card, context)
    assert closed == ["d"]


async def test_the_card_tells_attributes_pins_its_parts_and_is_plain_json(tmp_path: Path) -> None:
    detector = models.write_yolo(tmp_path / "d.onnx")
    classifier = models.write_colour_classifier(tmp_path / "c.onnx")
    bright = models.write_brightness(tmp_path / "b.onnx")
    asked = (
        AttributeBy("colour", str(classifier), labels=("car",)),
        AttributeBy("paint", str(classifier), "text"),
        AttributeBy("light", str(bright), "number"),
    )
    reference = Cascade(str(detector), asked, margin=0.2)
    card = await Cascades().resolve(reference, Context(tmp_path / "cache"))
    specs = {spec["name"]: spec["attributes"] for spec in card.settings["label_specs"]}
    assert [each["name"] for each in specs["person"]] == ["paint", "light"]
    assert specs["car"][0] == {"name": "colour", "input_type": "select", "values": ["red", "green", "blue"]}
    assert specs["car"][2]["values"] == ["0", "1000000", "1"]
    assert card_from_json(card_as_json(card)) == card
    assert parse_reference(card.reference).reference == reference
    assert card.weights_bytes == sum(path.stat().st_size for path in (detector, classifier, classifier, bright))
    models.write_colour_classifier(classifier, ("rot", "grün", "blau"))
    again = await Cascades().resolve(reference, Context(tmp_path / "cache"))
    assert again.revision != card.revision


async def test_an_open_vocabulary_chooses_from_the_values(tmp_path: Path) -> None:
    detector = models.write_yolo(tmp_path / "d.onnx")
    clip = known.write(known.clip, tmp_path / "clip")
    context = Context(tmp_path / "cache")
    with pytest.raises(Unsupported, match="values to choose from"):
        await Cascades().resolve(Cascade(str(detector), (AttributeBy("kind", str(clip)),)), context)
    asked = AttributeBy("kind", str(clip), values=("big car", "red car"))
    card = await Cascades().resolve(Cascade(str(detector), (asked,)), context)
    async with await Cascades().open(card, context) as made:
        (found,) = await made.predict([noisy(0)], EVERYTHING)
    assert len(found)
    assert {each["kind"] for each in found.attributes} <= {"big car", "red car"}
    assert all(each for each in found.attributes)


def noisy(seed: int) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    return Frame(f"noise{seed}", 80, 60, pixels=pixels)


async def test_poses_of_the_boxes_of_a_detector_equal_those_of_boxes_given(tmp_path: Path) -> None:
    detector = models.write_yolo(tmp_path / "d.onnx")
    bright = models.write_brightness(tmp_path / "b.onnx")
    pose = known.write(known.vitpose, tmp_path / "vitpose")
    context = Context(tmp_path / "cache")
    plain = await Cascades().resolve(Cascade(str(detector), (AttributeBy("light", str(bright), "number"),)), context)
    reference = Cascade(str(detector), (AttributeBy("light", str(bright), "number"),), str(pose), ("car", "person"))
    card = await Cascades().resolve(reference, context)
    assert (card.task_type, card.labels, card.shape_types) == ("keypoint-detection", ("person",), ("skeleton",))
    assert card.settings["sublabels"] == list(known.JOINTS)
    frames = [noisy(1), noisy(2)]
    async with await Cascades().open(plain, context) as one, await Cascades().open(card, context) as two:
        boxes, poses = await one.predict(frames, EVERYTHING), await two.predict(frames, EVERYTHING)
        assert isinstance(two, CascadePredictor)
        assert two.poses is not None
        for frame, mine, theirs in zip(frames, poses, boxes, strict=True):
            wanted = theirs.take(np.isin(theirs.label_ids, [0, 1]))
            assert len(mine) == len(wanted) > 0
            np.testing.assert_array_equal(mine.boxes, wanted.boxes)
            np.testing.assert_array_equal(mine.scores, wanted.scores)
            assert mine.attributes == wanted.attributes
            for row, box in enumerate(wanted.boxes):
                (alone,) = await two.poses.model.predict_boxes([frame], [box[None]], EVERYTHING)
                ours, other = mine.geometry[row], alone.geometry[0]
                assert isinstance(ours, Skeleton)
                assert isinstance(other, Skeleton)
                np.testing.assert_allclose(ours.points, other.points, atol=1e-3)


async def test_a_cascade_takes_as_long_as_its_parts_and_asks_no_faster(tmp_path: Path) -> None:
    from adapters.cascade import _limits  # noqa: PLC0415

    limits = _limits([Limits(4, 2, 20.0, 30.0, 100), Limits(8, 3, None, 50.0), Limits(1, 1, 5.0, 10.0)])
    assert limits == Limits(4, 2, 5.0, 90.0, None)


def test_written_and_read_it_is_the_same() -> None:
    text = (
        'cascade:{"detector": "model:faces", "attributes": [{"attribute": "emotion", "model": '
        '"https://huggingface.co/org/emotions", "labels": ["face"], "threshold": 0.5}], "margin": 0.1}'
    )
    reference = parse_reference(text).reference
    assert reference == Cascade(
        "model:faces", (AttributeBy("emotion", "hf://org/emotions", "select", ("face",), (), 0.5),), margin=0.1
    )
    assert reference.registered == ("faces",)
    assert parse_reference(reference.canonical).reference == reference


def test_keys_of_the_parts_are_taken_out() -> None:
    text = 'cascade:{"detector": "https://detect.roboflow.com/proj/3?api_key=c4n4ry", "pose": "usyd/vitpose"}'
    parsed = parse_reference(text)
    assert "c4n4ry" not in parsed.reference.canonical
    assert [(found.kind, found.value) for found in parsed.secrets] == [("roboflow", "c4n4ry")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cascade:faces", "no JSON"),
        ("cascade:[]", "cannot be understood"),
        ('cascade:{"detector": "a/b"}', "nothing to ask"),
        ('cascade:{"detector": "a/b", "poses": "c/d"}', "poses"),
        ('cascade:{"detector": "a", "pose_labels": ["x"], "attributes": [{"attribute": "c", "model": "d"}]}', "poses"),
        ('cascade:{"detector": "a/b", "attributes": [{"attribute": "c", "model": "c/d", "type": "date"}]}', "type"),
        (
            'cascade:{"detector": "a/b", "attributes": [{"attribute": "c", "model": "c/d"}, '
            '{"attribute": "c", "model": "e/f"}]}',
            "twice",
        ),
        ('cascade:{"detector": "a/b", "pose": "model:"}', "no name"),
        ('cascade:{"detector": "cascade:{}", "pose": "a/b"}', "part of a cascade"),
        ('cascade:{"detector": "datasets/a/b", "pose": "a/b"}', "dataset"),
        ('cascade:{"detector": "a/b", "pose": "a/b", "margin": 9}', "margin"),
    ],
)  # fmt: skip
def test_what_is_no_cascade_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidReference, match=words):
        parse_reference(text)


async def test_calls_at_once_keep_apart() -> None:
    made = cascade(boxes_of([0, 0, 20, 20]), (AttributeBy("colour", "m"), Fixed(TAGS, colour)))
    paints = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [painted(((0, 0, 80, 60), paint)) for paint in paints]
    answers = await asyncio.gather(*(made.predict([frame], EVERYTHING) for frame in frames))
    assert [answer[0].attributes[0]["colour"] for answer in answers] == ["red", "green", "blue"]
