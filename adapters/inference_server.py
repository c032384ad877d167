"""Models on a Roboflow inference server of one's own (port 9001): loaded by name, asked with batches of pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from adapters.base import Context, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import AccessDenied, ModelNotFound, Unsupported
from adapters.hosted import HostedPredictor, check_count, check_online, key_for
from adapters.http_caller import Host, HttpCaller, Request
from adapters.json_reading import as_list, as_object
from adapters.references import InferenceServerModel
from adapters.roboflow_answers import CLASSIFICATION, DEFAULT_THRESHOLD, KINDS, SEMANTIC, known_kind, parse_answer
from adapters.roboflow_hosted import ACCOUNT, API, CONNECT, build_request
from adapters.roboflow_project import ask_project
from adapters.sent_image import SentImage

# What a model does, as the server calls it -> the route that predicts. Semantic segmentation has the older one only.
_ROUTES: Mapping[str, str] = {
    "object-detection": "object_detection",
    "instance-segmentation": "instance_segmentation",
    "keypoint-detection": "keypoints_detection",
    "single-label-classification": "classification",
    "multi-label-classification": "classification",
    CLASSIFICATION: "classification",
}
_LIMITS = Limits(max_batch=8, max_concurrency=2)


class InferenceServer:
    """The Adapter of ``InferenceServerModel``.

    The server tells what a model does, not its labels: those stand in the reference, or are looked up at Roboflow with
    the account's key.
    """

    async def resolve(self, reference: InferenceServerModel, context: Context) -> ModelCard:
        check_online(context, "An inference server")
        model_id = f"{reference.project}/{reference.version}"
        caller, key = _caller(reference.base_url, context, _LIMITS.timeout_s)
        try:
            kind = await add_model(caller, model_id, key)
        finally:
            await caller.close()
        task_type, shape_type = KINDS[kind]
        host = urlsplit(reference.base_url).netloc
        return ModelCard(
            name=f"{reference.project}-{reference.version}",
            provider="inference-server",
            reference=reference.canonical,
            revision=str(reference.version),
            task_type=task_type,
            labels=reference.labels or await _labels_at_roboflow(reference, context),
            shape_types=(shape_type,),
            engine="hosted",
            default_threshold=DEFAULT_THRESHOLD,
            limits=_LIMITS,
            settings={"kind": kind, "model_id": model_id, "base_url": reference.base_url},
            notes=(f"It runs on the inference server at {host}.",),
        )

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing is downloaded: the server fetches the weights itself."""

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        check_online(context, "An inference server")
        caller, key = _caller(card.settings["base_url"], context, card.limits.timeout_s)
        try:
            await add_model(caller, card.settings["model_id"], key)  # the server may have been started anew
        except BaseException:
            await caller.close()
            raise
        return InferenceServerPredictor(card, caller, key)


class InferenceServerPredictor(HostedPredictor):
    """One model of the server."""

    def __init__(self, card: ModelCard, caller: HttpCaller, key: str | None) -> None:
        super().__init__(card, caller, urlsplit(card.settings["base_url"]).netloc)
        self._key = key
        self._kind: str = card.settings["kind"]
        self.frames_per_request = 1 if self._kind == SEMANTIC else card.limits.max_batch

    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        model_id = self.card.settings["model_id"]
        if self._kind == SEMANTIC:
            return build_request(model_id, self._key, images[0], options)
        return build_batch(self._kind, model_id, self._key, images, options)

    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        answers = [answer] if isinstance(answer, dict) else as_list(answer, "results")
        labels = self.card.labels or ()
        check_count(len(answers), len(images), self._host)  # before any answer is taken for another picture's
        return [parse_answer(self._kind, each, image, labels) for each, image in zip(answers, images, strict=True)]


def build_batch(
    kind: str, model_id: str, key: str | None, images: Sequence[SentImage], options: PredictOptions
) -> Request:
    """``POST /infer/...`` with a list of pictures. ``confidence`` is a fraction here, always."""
    content: dict[str, Any] = {
        "model_id": model_id,
        "confidence": options.floor_score,
        "image": [{"type": "base64", "value": base64.b64encode(image.data).decode("ascii")} for image in images],
    }
    return _post(f"/infer/{_ROUTES[kind]}", content, key, model_id)


async def add_model(caller: HttpCaller, model_id: str, key: str | None) -> str:
    """Have the server load a model, which may take as long as its download; what the model does. Raises
    PredictorError."""
    answer = await caller.json(_post("/model/add", {"model_id": model_id}, key, model_id))
    for each in as_list(as_object(answer, "answer").get("models"), "models"):
        model = as_object(each, "model")
        if model.get("model_id") == model_id:
            return known_kind(model.get("task_type"), model_id)
    raise ModelNotFound(f"The server did not load {model_id}.", hint="Look at the server's log.")


def _post(path: str, content: Mapping[str, Any], key: str | None, subject: str) -> Request:
    body = json.dumps({**content, **({"api_key": key} if key else {})}).encode()
    return Request(path, headers={"Content-Type": "application/json"}, body=body, subject=subject)


def _caller(base_url: str, context: Context, timeout_s: float) -> tuple[HttpCaller, str | None]:
    host = urlsplit(base_url).netloc
    key = key_for(context, "roboflow", base_url, ACCOUNT)
    caller = HttpCaller(base_url, context.http, Host(host, CONNECT), secrets=(key,), timeout_s=timeout_s)
    return caller, key


async def _labels_at_roboflow(reference: InferenceServerModel, context: Context) -> tuple[str, ...]:
    """Labels of the project in the workspace of the account's key."""
    hint = f"Write them behind the address: {reference.canonical}#labels=car,person."
    key = context.secret("roboflow", ACCOUNT)
    if key is None:
        raise Unsupported("An inference server does not name its models' labels.", hint=f"{hint} Or: {CONNECT}")
    url = context.endpoints.get("roboflow", API)
    caller = HttpCaller(url, context.http, Host("Roboflow", CONNECT), secrets=(key,))
    try:
        labels = (await ask_project(caller, key, None, reference.project)).labels
    except (ModelNotFound, AccessDenied) as error:
        text = f"The labels of {reference.project} are not to be had from Roboflow: {error.message}"
        raise Unsupported(text, hint=hint) from error
    finally:
        await caller.close()
    if not labels:
        raise Unsupported(f"{reference.project} has no labels at Roboflow.", hint=hint)
    return labels
