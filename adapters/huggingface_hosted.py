"""Models that Hugging Face runs: behind its router, or on a dedicated endpoint."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from adapters.base import Context, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import Unsupported
from adapters.hosted import HostedPredictor, check_online, key_for
from adapters.http_caller import Host, HttpCaller, Request
from adapters.huggingface_access import hub_of, hub_token
from adapters.huggingface_answers import OPEN, SHAPE_TYPES, build_request, parse_answer
from adapters.huggingface_config import CONFIG, read_labels
from adapters.references import HuggingFaceEndpoint
from adapters.sent_image import SentImage

PROVIDER = "huggingface-hosted"
ROUTER = "https://router.huggingface.co"
INFERENCE_API = "hf-inference"  # the provider behind the router that serves vision models
_MODELS = f"/{INFERENCE_API}/models/"
_USUAL_HOST = "huggingface.co"
_CONNECT = "Add a token with `hubbridge connection add huggingface`, or set HF_TOKEN."
_LIMITS = Limits(max_batch=1, max_concurrency=4, timeout_s=120.0)


class HuggingFaceHosted:
    """The Adapter of ``HuggingFaceEndpoint``. Labels, task type and commit come from the hub's repository of the model.

    The host runs the newest commit; the card's says which one that was when the model was added.
    """

    async def resolve(self, reference: HuggingFaceEndpoint, context: Context) -> ModelCard:
        check_online(context, "Hugging Face")
        if reference.repo_id is None:
            context.http.check(reference.url)
        repo_id = reference.repo_id or reference.model
        if repo_id:
            return await asyncio.to_thread(_from_hub, reference, repo_id, context)
        return _from_hints(reference)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing is downloaded."""

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        check_online(context, "Hugging Face")
        if card.settings.get("endpoint"):
            url: str = card.settings["endpoint"]
            host = urlsplit(url).netloc
            key = key_for(context, "huggingface", url, _USUAL_HOST)
            connect = f"Add its token: `hubbridge connection add huggingface --host {host}`."
        else:
            host = "Hugging Face's Inference API"
            url = context.endpoints.get("huggingface-router", ROUTER).rstrip("/") + _MODELS + card.settings["repo_id"]
            key, connect = hub_token(context), _CONNECT
        caller = HttpCaller(url, context.http, Host(host, connect), secrets=(key,), timeout_s=card.limits.timeout_s)
        return HuggingFacePredictor(card, caller, host, key)


class HuggingFacePredictor(HostedPredictor):
    """One hosted model; ``key`` is sent as a bearer token."""

    def __init__(self, card: ModelCard, caller: HttpCaller, host: str, key: str | None) -> None:
        super().__init__(card, caller, host)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        request = build_request(self.card.task_type, images[0], options)
        return dataclasses.replace(
            request, headers={**(request.headers or {}), **self._headers}, subject=self.card.name
        )

    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        return [parse_answer(self.card.task_type, answer, images[0], self.card.labels, options)]


def _from_hub(reference: HuggingFaceEndpoint, repo_id: str, context: Context) -> ModelCard:
    hub = hub_of(context)
    info = hub.model_info(repo_id, None)
    name, commit = info.id, str(info.sha)
    on_router = reference.repo_id is not None
    notes: tuple[str, ...] = () if name == repo_id else (f"{repo_id} is now called {name}.",)
    task_type = reference.task or check_hosted_task(name, info.pipeline_tag)
    if on_router:
        status = hub.inference_status(name)
        if status is not None and status.get(INFERENCE_API) != "live":
            text = f"Hugging Face's Inference API does not serve {name} at the moment."
            raise Unsupported(text, hint="Run it here: --run local.")
        notes += ("It runs at Hugging Face; frames leave this machine. The host runs the model's newest commit.",)
    else:
        notes += (f"It runs at {urlsplit(reference.url).netloc}; frames leave this machine.",)
    labels: tuple[str, ...] | None = None
    if task_type not in OPEN:
        config = _config(name, hub.read(name, commit, CONFIG))
        labels, more = read_labels(config)
        notes += more
    card_data: Any = info.card_data or {}
    licence = card_data.get("license")
    if on_router:
        renamed = dataclasses.replace(reference, url=reference.url.removesuffix(repo_id) + name)
    else:
        renamed = dataclasses.replace(reference, model=name)
    return ModelCard(
        name=name,
        provider=PROVIDER,
        reference=renamed.canonical,
        revision=commit,
        task_type=task_type,
        labels=labels,
        shape_types=(SHAPE_TYPES[task_type],),
        engine="hosted",
        licence=licence if isinstance(licence, str) else None,
        gated=bool(info.gated),
        limits=_LIMITS,
        settings={"repo_id": name, "endpoint": "" if on_router else reference.url},
        notes=notes,
    )


def _from_hints(reference: HuggingFaceEndpoint) -> ModelCard:
    """An endpoint's card from what the user wrote behind its address."""
    host = urlsplit(reference.url).netloc
    if not reference.task or (reference.task not in OPEN and not reference.labels):
        raise Unsupported(
            f"{host} does not say which model it serves.",
            hint=f"Add the model to its address: {reference.canonical.partition('#')[0]}#model=ORG/NAME; "
            "or task and labels: #task=object-detection&labels=car,person.",
        )
    task_type = check_hosted_task(host, reference.task)
    return ModelCard(
        name=host,
        provider=PROVIDER,
        reference=reference.canonical,
        revision="unpinned",
        task_type=task_type,
        labels=None if task_type in OPEN else reference.labels,
        shape_types=(SHAPE_TYPES[task_type],),
        engine="hosted",
        limits=_LIMITS,
        settings={"endpoint": reference.url},
        notes=(
            f"It runs at {host}; frames leave this machine.",
            "Nothing pins which model the endpoint serves; its labels are those given with its address.",
        ),
    )


def check_hosted_task(name: str, task_type: str | None) -> str:
    """The task type, where hosted inference answers shapes or tags for it. Raises Unsupported, naming it."""
    if task_type is None or task_type not in SHAPE_TYPES:
        known = ", ".join(SHAPE_TYPES)
        raise Unsupported(
            f"{name} is a model for {task_type or 'an unnamed task'}.", hint=f"Hosted models do: {known}."
        )
    return task_type


def _config(name: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unsupported(f"{CONFIG} of {name} is no JSON.") from error
    if not isinstance(value, dict):
        raise Unsupported(f"{CONFIG} of {name} holds no JSON object.")
    return value
