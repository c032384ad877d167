"""An inference server of one's own: batches, labels, keys, and what its refusals become."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Context, ModelCard, PredictOptions
from adapters.errors import AccessDenied, BadOutput, PredictorError, Unavailable, Unsupported
from adapters.frame import Frame
from adapters.http_caller import Host, HttpCaller
from adapters.inference_server import InferenceServer, InferenceServerPredictor, build_batch
from adapters.network import HttpPolicy
from adapters.references import InferenceServerModel
from adapters.roboflow_answers import KINDS
from adapters.sent_image import SentImage
from tests import models
from tests.servers import inference_server
from tests.servers.roboflow import KEY, Roboflow
from tests.unit.adapters.json_values import json_like

EVERYTHING = PredictOptions(floor_score=0.0)
KIND_OF = {
    f"p-{kind}/1": kind
    for kind in (
        "object-detection",
        "instance-segmentation",
        "classification",
        "multi-label-classification",
        "keypoint-detection",
        "semantic-segmentation",
    )
}


def test_a_batch_is_a_list_of_pictures_and_its_confidence_a_fraction() -> None:
    images = [SentImage(b"one", "image/jpeg", 4, 3), SentImage(b"two", "image/png", 4, 3)]
    request = build_batch("keypoint-detection", "p/1", "key", images, PredictOptions(floor_score=0.05))
    assert request.path == "/infer/keypoints_detection"
    content = json.loads(request.body or b"")
    assert [base64.b64decode(image["value"]) for image in content.pop("image")] == [b"one", b"two"]
    assert content == {"model_id": "p/1", "confidence": 0.05, "api_key": "key"}


@dataclass
class World:
    host: inference_server.InferenceServer
    cloud: Roboflow
    context: Context

    async def card(self, model_id: str, labels: tuple[str, ...] = models.LABELS, **changes: Any) -> ModelCard:
        reference = InferenceServerModel(self.host.url, model_id.partition("/")[0], 1, labels)
        return await InferenceServer().resolve(reference, replace(self.context, **changes))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    projects = {"p-object-detection": ("object-detection", {1: True})}
    with Roboflow(models.LABELS, projects) as cloud, inference_server.InferenceServer(models.LABELS, KIND_OF) as host:
        context = Context(
            tmp_path,
            secret=lambda kind, netloc: KEY if (kind, netloc) == ("roboflow", "roboflow.com") else None,
            endpoints={"roboflow": cloud.url},
            http=HttpPolicy(frozenset({"127.0.0.1"})),
        )
        yield World(host, cloud, context)


def frames(count: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    return [Frame(f"f{i}", 31, 17, pixels=rng.integers(0, 256, (17, 31, 3), np.uint8)) for i in range(count)]


@pytest.mark.parametrize("model_id", sorted(KIND_OF))
async def test_every_kind_is_predicted_over_the_wire(world: World, model_id: str) -> None:
    card = await world.card(model_id)
    async with await InferenceServer().open(card, world.context) as predictor:
        found = await predictor.predict(frames(3), EVERYTHING)
    assert len(found) == 3
    assert all(len(each) for each in found)
    assert (card.task_type, card.shape_types[0]) == KINDS[KIND_OF[model_id]]


async def test_frames_travel_in_batches(world: World) -> None:
    card = await world.card("p-object-detection/1")
    async with await InferenceServer().open(card, world.context) as predictor:
        await predictor.predict(frames(20), EVERYTHING)
    sizes = [len(json.loads(each.body)["image"]) for each in world.host.seen if each.path.startswith("/infer")]
    assert sorted(sizes) == [4, 8, 8]


async def test_labels_are_looked_up_with_the_accounts_key_or_stand_in_the_address(world: World) -> None:
    assert (await world.card("p-object-detection/1", ())).labels == models.LABELS
    assert len(world.cloud.seen) == 2
    assert (await world.card("p-object-detection/1", ("a", "b"))).labels == ("a", "b")
    assert len(world.cloud.seen) == 2
    with pytest.raises(Unsupported, match="labels") as caught:
        await world.card("p-classification/1", ())
    assert "#labels=" in caught.value.hint


async def test_the_accounts_key_is_not_sent_to_a_server_that_was_only_pasted(world: World) -> None:
    untrusted = replace(world.context, http=HttpPolicy(frozenset({"localhost"})))
    with pytest.raises(AccessDenied, match="plain http"):
        await world.card("p-object-detection/1", http=untrusted.http)
    assert world.host.seen == []


@pytest.mark.parametrize("answered", [0, 2, 4])
async def test_a_wrong_number_of_answers_is_bad_output(
    world: World, monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    card = await world.card("p-object-detection/1")
    plain = inference_server.InferenceServer._infer

    def miscounting(self: Any, route: str, content: dict[str, Any]) -> Any:
        return plain(self, route, {**content, "image": (content["image"] * 2)[:answered]})

    monkeypatch.setattr(inference_server.InferenceServer, "_infer", miscounting)
    async with await InferenceServer().open(card, world.context) as predictor:
        with pytest.raises(BadOutput, match=f"{answered} results for 3 frames"):
            await predictor.predict(frames(3), EVERYTHING)


@pytest.mark.parametrize("fault", ["leak", "401", "redirect", "cut", "500", "garbage"])
async def test_the_key_stands_in_no_error_and_goes_to_no_second_host(world: World, fault: str) -> None:
    card = await world.card("p-object-detection/1")
    async with await InferenceServer().open(card, world.context) as predictor:
        world.host.fail(fault)
        with pytest.raises(PredictorError) as caught:
            await predictor.predict(frames(1), EVERYTHING)
    assert KEY not in "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert world.host.stolen == []


async def test_a_wrong_key_is_refused_without_being_repeated(world: World) -> None:
    wrong = KEY[::-1]
    with pytest.raises(AccessDenied) as caught:
        await world.card("p-object-detection/1", secret=lambda kind, host: wrong)
    assert wrong not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_is_gone_is_unavailable(world: World) -> None:
    card = await world.card("p-object-detection/1")
    world.host.__exit__()
    with pytest.raises(Unavailable):
        await InferenceServer().open(card, world.context)
    world.host.__enter__()


WORDS = [
    *("predictions", "x", "y", "width", "height", "class", "class_id", "confidence", "points", "keypoints"),
    *("segmentation_mask", "class_map", "image", "top", "predicted_classes"),
]


@settings(max_examples=150)
@given(st.sampled_from(sorted(KINDS)), json_like(WORDS), st.integers(1, 2))
def test_any_answer_is_detections_or_a_predictor_error(kind: str, answer: Any, count: int) -> None:
    card = ModelCard(
        "m",
        "inference-server",
        "r",
        "1",
        "object-detection",
        models.LABELS,
        ("rectangle",),
        "hosted",
        settings={"kind": kind, "model_id": "m/1", "base_url": "http://127.0.0.1:1"},
    )
    caller = HttpCaller("http://127.0.0.1:1", HttpPolicy(frozenset({"127.0.0.1:1"})), Host("server", ""))
    predictor = InferenceServerPredictor(card, caller, None)
    try:
        found = predictor.read(answer, [SentImage(b"x", "image/png", 8, 6)] * count, EVERYTHING)
    except PredictorError as error:
        assert len(error.message) > 10
        return
    assert len(found) == count
