"""Models in Roboflow's cloud. The API says what they are; the inference host predicts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from adapters.base import Context, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import AccessDenied, Unsupported
from adapters.hosted import HostedPredictor, check_online
from adapters.http_caller import Host, HttpCaller, Request
from adapters.references import RoboflowVersion
from adapters.roboflow_answers import DEFAULT_THRESHOLD, KINDS, known_kind, parse_answer
from adapters.roboflow_project import ask_project, chosen_version
from adapters.sent_image import SentImage

API = "https://api.roboflow.com"
INFERENCE = "https://serverless.roboflow.com"
ACCOUNT = "roboflow.com"
CONNECT = "Add the workspace's key with `hubbridge connection add roboflow`, or set ROBOFLOW_API_KEY."
_OLDER_HOSTS = ("detect.", "outline.", "classify.", "segment.")
# Of one request, base64 taken off: 20 MB on the serverless host, 5 MB on the older ones.
_MAX_BYTES, _MAX_BYTES_OLDER = 20_000_000 * 3 // 4 - 1000, 5_000_000 * 3 // 4 - 1000
_REQUESTS_PER_SECOND = 20.0


class RoboflowHosted:
    """The Adapter of ``RoboflowVersion``. A missing version becomes the newest trained one, and the card pins it."""

    async def resolve(self, reference: RoboflowVersion, context: Context) -> ModelCard:
        check_online(context, "Roboflow")
        key = _key(context)
        url = context.endpoints.get("roboflow", API)
        caller = HttpCaller(url, context.http, Host("Roboflow", CONNECT), secrets=(key,))
        try:
            project = await ask_project(caller, key, reference.workspace, reference.project)
        finally:
            await caller.close()
        name = f"{project.workspace}/{project.project}"
        kind = known_kind(project.kind, name)
        version = chosen_version(project, reference.version)
        if not project.labels:
            raise Unsupported(f"{name} has no labels.", hint="Choose a project with annotations.")
        task_type, shape_type = KINDS[kind]
        older = urlsplit(context.endpoints.get("roboflow-inference", INFERENCE)).netloc.startswith(_OLDER_HOSTS)
        notes = ["It runs at Roboflow; frames leave this machine."]
        if reference.version is None:
            notes.append(f"Version {version} is the newest that has a trained model.")
        return ModelCard(
            name=f"{project.project}-{version}",
            provider="roboflow",
            reference=RoboflowVersion(reference.workspace, reference.project, version).canonical,
            revision=str(version),
            task_type=task_type,
            labels=project.labels,
            shape_types=(shape_type,),
            engine="hosted",
            default_threshold=DEFAULT_THRESHOLD,
            limits=Limits(
                max_batch=1,
                max_concurrency=4,
                requests_per_second=_REQUESTS_PER_SECOND,
                max_bytes=_MAX_BYTES_OLDER if older else _MAX_BYTES,
            ),
            settings={"kind": kind, "model_id": f"{project.project}/{version}"},
            notes=tuple(notes),
        )

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing is downloaded."""

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        check_online(context, "Roboflow")
        key = _key(context)
        caller = HttpCaller(
            context.endpoints.get("roboflow-inference", INFERENCE),
            context.http,
            Host("Roboflow", CONNECT),
            secrets=(key,),
            timeout_s=card.limits.timeout_s,
            requests_per_second=card.limits.requests_per_second,
        )
        return RoboflowPredictor(card, caller, key)


class RoboflowPredictor(HostedPredictor):
    """One model of the cloud."""

    def __init__(self, card: ModelCard, caller: HttpCaller, key: str) -> None:
        super().__init__(card, caller, "Roboflow")
        self._key = key

    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        return build_request(self.card.settings["model_id"], self._key, images[0], options)

    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        return [parse_answer(self.card.settings["kind"], answer, images[0], self.card.labels or ())]


def build_request(model_id: str, key: str | None, image: SentImage, options: PredictOptions) -> Request:
    """``POST /{project}/{version}``: the picture in base64, calling itself a form, as this route wants it."""
    query = {"confidence": confidence_text(options.floor_score)}
    if key:
        query["api_key"] = key
    headers: Mapping[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request(f"/{model_id}", query=query, headers=headers, body=base64.b64encode(image.data), subject=model_id)


def confidence_text(score: float) -> str:
    """A score for the ``confidence`` of this route, which takes a value of 1 or more for percent: 1 would be 1 %."""
    text = f"{score:.6f}"
    return text if float(text) < 1 else "100"


def _key(context: Context) -> str:
    key = context.secret("roboflow", ACCOUNT)
    if not key:
        raise AccessDenied("Roboflow wants a key for every model, public ones too.", hint=CONNECT)
    return key
