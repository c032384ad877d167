"""Hugging Face's hosted inference: the two pure halves, and what the adapter says and sends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Context, Mask, ModelCard, PredictOptions, WholeFrame
from adapters.dense_masks import bits_of
from adapters.errors import AccessDenied, BadOutput, PredictorError, Unavailable, Unsupported
from adapters.frame import Frame
from adapters.huggingface_answers import SHAPE_TYPES, build_request, parse_answer
from adapters.huggingface_hosted import HuggingFaceHosted
from adapters.network import HttpPolicy
from adapters.providers import adapter_for, adapter_for_card
from adapters.references import HuggingFaceEndpoint, HuggingFaceModel
from adapters.references.kinds import ROUTER
from adapters.sent_image import SentImage, sent_image
from tests import models
from tests.hub import TOKEN, HubServer, Repository
from tests.servers.hugging_face_inference import HuggingFaceInference, mask_png
from tests.unit.adapters.json_values import json_like

IMAGE = SentImage(b"jpeg", "image/jpeg", 40, 30)
LABELS = ("car", "person")
OPTIONS = PredictOptions(floor_score=0.1)
PROMPTED = replace(OPTIONS, prompts={"vehicle": ("a car", "a truck"), "people": ()})
BOX = {"xmin": 1, "ymin": 2, "xmax": 11, "ymax": 12}


def body_of(task_type: str, options: PredictOptions = OPTIONS) -> Any:
    return json.loads(build_request(task_type, IMAGE, options).body or b"")


def test_a_task_without_parameters_sends_the_picture_itself() -> None:
    request = build_request("image-segmentation", IMAGE, OPTIONS)
    assert request.body == b"jpeg"
    assert request.headers is not None
    assert request.headers["Content-Type"] == "image/jpeg"


def test_the_floor_score_is_sent_as_the_threshold() -> None:
    assert body_of("object-detection") == {
        "inputs": base64.b64encode(b"jpeg").decode(),
        "parameters": {"threshold": 0.1},
    }


def test_prompts_are_sent_as_candidate_labels_and_come_back_as_their_labels() -> None:
    assert body_of("zero-shot-object-detection", PROMPTED)["parameters"] == {
        "candidate_labels": ["a car", "a truck", "people"],
        "threshold": 0.1,
    }
    answer = [{"label": "a truck", "score": 0.7, "box": BOX}, {"label": "people", "score": 0.6, "box": BOX}]
    found = parse_answer("zero-shot-object-detection", answer, IMAGE, None, PROMPTED)
    assert found.labels == ("vehicle", "people")
    assert found.label_ids.tolist() == [0, 1]


def test_of_a_labels_texts_the_best_counts_in_a_classification() -> None:
    answer = [{"label": "a car", "score": 0.2}, {"label": "a truck", "score": 0.7}, {"label": "people", "score": 0.1}]
    found = parse_answer("zero-shot-image-classification", answer, IMAGE, None, PROMPTED)
    assert found.scores.tolist() == pytest.approx([0.7, 0.1])
    assert found.geometry == (WholeFrame(), WholeFrame())


@pytest.mark.parametrize(
    ("task_type", "prompts"),
    [
        ("zero-shot-object-detection", {}),
        ("zero-shot-image-classification", {}),
        ("zero-shot-image-classification", {"car": ("a car",)}),
    ],
)
def test_an_open_vocabulary_without_enough_prompts_is_refused(task_type: str, prompts: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        build_request(task_type, IMAGE, replace(OPTIONS, prompts=prompts))


def test_boxes_are_read_in_pixels() -> None:
    found = parse_answer("object-detection", [{"label": "person", "score": 0.5, "box": BOX}], IMAGE, LABELS, OPTIONS)
    assert found.boxes.tolist() == [[1, 2, 11, 12]]
    assert found.label_ids.tolist() == [1]


def test_a_mask_is_cut_to_its_box_and_a_null_score_is_certain(tmp_path: Path) -> None:
    frame = Frame("f", 40, 30, pixels=np.zeros((30, 40, 3), np.uint8))
    image = sent_image(frame)
    png = mask_png(image.data, (3.0, 4.0, 10.0, 20.0))
    empty = mask_png(image.data, (3.0, 4.0, 3.0, 4.0))
    answer = [{"label": "car", "score": None, "mask": png}, {"label": "person", "score": 0.5, "mask": empty}]
    found = parse_answer("image-segmentation", answer, image, LABELS, OPTIONS)
    assert found.boxes.tolist() == [[3, 4, 10, 20]]
    assert found.scores.tolist() == [1.0]
    (mask,) = found.geometry
    assert isinstance(mask, Mask)
    bits = bits_of(mask)
    assert bits.sum() == 7 * 16
    assert bits[4:20, 3:10].all()


@pytest.mark.parametrize(
    ("task_type", "answer"),
    [
        ("object-detection", {"error": "x"}),
        ("object-detection", ["car"]),
        ("object-detection", [{"label": "car", "score": 0.5}]),
        ("object-detection", [{"label": "car", "score": "0.5", "box": BOX}]),
        ("object-detection", [{"label": "car", "score": 0.5, "box": {**BOX, "xmin": True}}]),
        ("object-detection", [{"label": "car", "score": 0.5, "box": {**BOX, "xmin": 10**400}}]),
        ("object-detection", [{"label": "cat", "score": 0.5, "box": BOX}]),
        ("object-detection", [{"label": None, "score": 0.5, "box": BOX}]),
        ("image-segmentation", [{"label": "car", "score": 0.5, "mask": "not base64"}]),
        ("image-segmentation", [{"label": "car", "score": 0.5, "mask": base64.b64encode(b"no PNG").decode()}]),
        ("image-classification", [{"label": "cat", "score": 0.5}]),
    ],
)
def test_what_is_no_answer_is_bad_output(task_type: str, answer: Any) -> None:
    with pytest.raises(BadOutput):
        parse_answer(task_type, answer, IMAGE, LABELS, OPTIONS)


def test_a_mask_of_another_size_is_bad_output() -> None:
    image = sent_image(Frame("f", 41, 30, pixels=np.zeros((30, 41, 3), np.uint8)))
    png = mask_png(image.data, (0, 0, 5, 5))
    with pytest.raises(BadOutput, match="41x30"):
        parse_answer("image-segmentation", [{"label": "car", "score": 1.0, "mask": png}], IMAGE, LABELS, OPTIONS)


@given(
    st.sampled_from(sorted(SHAPE_TYPES)), json_like(["label", "score", "box", "mask", "xmin", "ymin", "xmax", "ymax"])
)
def test_no_json_makes_the_parser_raise_anything_but_its_own_errors(task_type: str, answer: Any) -> None:
    with contextlib.suppress(PredictorError):
        labels = None if task_type.startswith("zero-shot") else LABELS
        parse_answer(task_type, answer, IMAGE, labels, PROMPTED).inside(40, 30)


@dataclass
class World:
    hub: HubServer
    host: HuggingFaceInference
    context: Context

    async def card(self, reference: Any, **changes: Any) -> ModelCard:
        return await adapter_for(reference).resolve(reference, replace(self.context, **changes))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    model = models.write_onnx_model(tmp_path / "model")
    repositories = {
        "street/served": Repository(model, served="live"),
        "street/staging": Repository(model, served="staging"),
        "street/cold": Repository(model),
        "street/open": Repository(model, pipeline_tag="zero-shot-object-detection", served="live"),
        "street/tags": Repository(model, pipeline_tag="image-classification", served="live"),
    }
    tasks = {name: str(each.pipeline_tag) for name, each in repositories.items()}
    with HubServer(repositories) as hub, HuggingFaceInference(models.LABELS, tasks, key=TOKEN) as host:
        context = Context(
            tmp_path / "cache",
            secret=lambda kind, netloc: TOKEN if kind == "huggingface" and netloc.startswith("127.0.0.1") else None,
            endpoints={"huggingface": hub.url, "huggingface-router": host.url},
            http=HttpPolicy(frozenset({"127.0.0.1"})),
        )
        yield World(hub, host, context)


FRAME = Frame("f", 40, 30, pixels=np.full((30, 40, 3), 90, np.uint8))


@pytest.mark.parametrize(
    ("repo_id", "changes", "provider", "why"),
    [
        ("street/served", {}, "huggingface-hosted", "there is a token"),
        ("street/staging", {}, "huggingface", "does not serve it"),
        ("street/cold", {}, "huggingface", "does not serve it"),
        ("street/served", {"secret": lambda kind, host: None}, "huggingface", "no token"),
        ("street/served", {"engine": "onnxruntime"}, "huggingface", "engine that was chosen"),
        ("street/served", {"run": "local"}, "huggingface", "as asked for"),
        ("street/served", {"run": "hosted"}, "huggingface-hosted", "as asked for"),
    ],
)
async def test_a_model_runs_here_or_at_its_host_and_its_card_says_why(
    world: World, repo_id: str, changes: dict[str, Any], provider: str, why: str
) -> None:
    card = await world.card(HuggingFaceModel(repo_id), **changes)
    assert card.provider == provider
    assert why in card.notes[0]
    assert card.labels == models.LABELS
    async with await adapter_for_card(card).open(card, world.context) as predictor:
        assert len(await predictor.predict([FRAME], PredictOptions(floor_score=0.0))) == 1


async def test_a_pinned_revision_runs_here_and_is_refused_at_the_host(world: World) -> None:
    pinned = HuggingFaceModel("street/served", "main")
    assert (await world.card(pinned)).provider == "huggingface"
    with pytest.raises(Unsupported, match="revision"):
        await world.card(pinned, run="hosted")


async def test_labels_that_the_hub_keeps_on_an_allowed_host_are_read(world: World, tmp_path: Path) -> None:
    """A large config.json lies behind a redirect, as every large file of a hub may."""
    many = models.write_config(
        tmp_path / "many", models.CONFIG | {"id2label": {str(i): f"label {i}" for i in range(1000)}}
    )
    world.hub.repositories["street/many"] = Repository(many, served="live")
    with pytest.raises(AccessDenied, match="localhost"):
        await world.card(HuggingFaceModel("street/many"), run="hosted")
    policy = HttpPolicy(frozenset({"127.0.0.1", "localhost"}))
    assert len((await world.card(HuggingFaceModel("street/many"), run="hosted", http=policy)).labels or ()) == 1000


async def test_a_model_that_is_not_served_is_refused_at_the_host(world: World) -> None:
    with pytest.raises(Unsupported, match="does not serve") as caught:
        await world.card(HuggingFaceModel("street/cold"), run="hosted")
    assert "--run local" in caught.value.hint


async def test_a_model_that_only_its_host_can_run_says_so(world: World, tmp_path: Path) -> None:
    pickled = models.write_config(tmp_path / "pickled")
    (pickled / "pytorch_model.bin").write_bytes(b"N.")
    world.hub.repositories["street/pickled"] = Repository(pickled, served="live")
    with pytest.raises(Unsupported, match="pickle") as caught:
        await world.card(HuggingFaceModel("street/pickled"), secret=lambda kind, host: None)
    assert "--run hosted" in caught.value.hint
    assert (await world.card(HuggingFaceModel("street/pickled"))).provider == "huggingface-hosted"


async def test_hugging_faces_own_client_reads_the_loopback_host_as_we_do(world: World) -> None:
    """The host that proves the adapter is proved by the vendor's client."""
    client = InferenceClient(model=f"{world.host.url}/hf-inference/models/street/served", token=TOKEN)
    theirs = await asyncio.to_thread(client.object_detection, FRAME.encoded, threshold=0.1)
    card = await world.card(HuggingFaceEndpoint(ROUTER + "street/served"))
    async with await HuggingFaceHosted().open(card, world.context) as predictor:
        (ours,) = await predictor.predict([FRAME], OPTIONS)
    assert len(ours) == len(theirs) > 0
    ranked = sorted(theirs, key=lambda each: -each.score)
    assert [models.LABELS[i] for i in ours.label_ids] == [each.label for each in ranked]
    assert ours.boxes.tolist() == [[e.box.xmin, e.box.ymin, e.box.xmax, e.box.ymax] for e in ranked]


async def test_an_open_vocabulary_is_asked_for_its_prompts(world: World) -> None:
    card = await world.card(HuggingFaceEndpoint(ROUTER + "street/open"))
    assert card.labels is None
    async with await HuggingFaceHosted().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], PROMPTED)
    assert found.labels == ("vehicle", "people")
    assert len(found)


async def test_a_classifier_gives_tags(world: World) -> None:
    card = await world.card(HuggingFaceEndpoint(ROUTER + "street/tags"))
    assert card.shape_types == ("tag",)
    async with await HuggingFaceHosted().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], PredictOptions(floor_score=0.0))
    assert len(found)
    assert set(found.geometry) == {WholeFrame()}


async def test_a_model_that_is_loading_is_named_with_the_time_it_takes(world: World) -> None:
    card = await world.card(HuggingFaceEndpoint(ROUTER + "street/served"))
    world.host.fail("503-loading", times=1)
    async with await HuggingFaceHosted().open(card, world.context) as predictor:
        with pytest.raises(Unavailable, match="The model is loading") as caught:
            await predictor.predict([FRAME], OPTIONS)
        assert caught.value.retry_after == 20
        assert len(await predictor.predict([FRAME], OPTIONS)) == 1


async def test_an_endpoint_with_labels_of_its_own_asks_no_hub(world: World) -> None:
    reference = HuggingFaceEndpoint(world.host.url, "", "object-detection", models.LABELS)
    card = await world.card(reference)
    assert card.labels == models.LABELS
    assert world.hub.seen == []
    async with await HuggingFaceHosted().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], PredictOptions(floor_score=0.0))
    assert len(found)


async def test_the_hubs_token_is_not_sent_to_an_endpoint_that_was_only_pasted(world: World) -> None:
    card = await world.card(HuggingFaceEndpoint(world.host.url, "", "object-detection", models.LABELS))
    hubs_own = replace(
        world.context,
        secret=lambda kind, netloc: TOKEN if netloc == "huggingface.co" else None,
        http=HttpPolicy(frozenset({"localhost"})),
    )
    with pytest.raises(AccessDenied):
        await HuggingFaceHosted().open(card, hubs_own)
    trusted = replace(hubs_own, http=HttpPolicy(frozenset({"127.0.0.1"})))
    async with await HuggingFaceHosted().open(card, trusted) as predictor:
        await predictor.predict([FRAME], OPTIONS)
    assert world.host.seen[-1].headers["Authorization"] == f"Bearer {TOKEN}"


async def test_nothing_is_asked_in_offline_mode(world: World) -> None:
    with pytest.raises(Unavailable, match="offline"):
        await world.card(HuggingFaceEndpoint(ROUTER + "street/served"), offline=True)
