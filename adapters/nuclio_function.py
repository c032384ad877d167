"""CVAT's serverless functions, as they are deployed: through the Nuclio dashboard, or at a function's own port."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from adapters.base import Context, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import InvalidReference, ModelNotFound, Unsupported
from adapters.frame import Frame
from adapters.hosted import HostedPredictor, check_online
from adapters.http_caller import Host, HttpCaller, Request
from adapters.nuclio_answers import (
    DETECTOR,
    Function,
    LabelSpec,
    check_runnable,
    parse_answer,
    parse_function,
    parse_functions,
    shape_types,
)
from adapters.references import NuclioFunction
from adapters.sent_image import SentImage

_TIMEOUT_S = 120
_LIMITS = Limits(max_batch=1, max_concurrency=2, timeout_s=float(_TIMEOUT_S))
# As CVAT sends them to the dashboard.
_DASHBOARD_HEADERS = {"x-nuclio-project-name": "cvat", "x-nuclio-function-namespace": "nuclio"}
_MOST_LISTED = 30
_GREY = Frame("a grey picture", 64, 64, pixels=np.full((64, 64, 3), 128, np.uint8))


class NuclioFunctions:
    """The Adapter of ``NuclioFunction``. Only detectors: what needs clicks or earlier frames annotates no task."""

    async def resolve(self, reference: NuclioFunction, context: Context) -> ModelCard:
        check_online(context, "A Nuclio function")
        if reference.function is None:
            card = _card(reference, _direct_function(reference))
            async with await self.open(card, context) as predictor:
                await predictor.predict([_GREY], PredictOptions())  # is a function there, and does it answer?
            return card
        caller, headers = _caller(reference.base_url, context)
        headers = {**headers, **_DASHBOARD_HEADERS}
        try:
            if not reference.function:
                raise await _choice(caller, headers, reference)
            path = f"/api/functions/{quote(reference.function, safe='')}"
            request = Request(path, "GET", headers=headers, subject=reference.function)
            try:
                function = parse_function(await caller.json(request))
            except ModelNotFound as error:
                choice = await _choice(caller, headers, reference)
                raise ModelNotFound(f"The dashboard has no function {reference.function}.", hint=choice.hint) from error
        finally:
            await caller.close()
        check_runnable(function)
        return _card(reference, function)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing is downloaded."""

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        check_online(context, "A Nuclio function")
        caller, headers = _caller(card.settings["base_url"], context)
        return NuclioPredictor(card, caller, headers)


class NuclioPredictor(HostedPredictor):
    """One function, one frame a call."""

    def __init__(self, card: ModelCard, caller: HttpCaller, headers: Mapping[str, str]) -> None:
        super().__init__(card, caller, urlsplit(card.settings["base_url"]).netloc)
        self._headers = headers
        self._sublabels = {each["name"]: each["sublabels"] for each in card.settings["label_specs"]}

    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        request = build_request(self.card.settings["function"], images[0], options)
        return dataclasses.replace(request, headers={**(request.headers or {}), **self._headers})

    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        return [parse_answer(answer, images[0], self.card.labels or (), self._sublabels)]


def build_request(function: str | None, image: SentImage, options: PredictOptions) -> Request:
    """What CVAT itself sends: to the dashboard by the function's name, or, without one, to the function itself."""
    content: dict[str, Any] = {"image": base64.b64encode(image.data).decode("ascii")}
    if options.floor_score > 0:
        content["threshold"] = options.floor_score
    headers = {"Content-Type": "application/json"}
    if function is None:
        return Request("/", headers=headers, body=json.dumps(content).encode(), subject="the function")
    headers |= _DASHBOARD_HEADERS | {
        "x-nuclio-function-name": function,
        "x-nuclio-path": "/",
        "x-nuclio-invoke-via": "domain-name",
        "X-Nuclio-Invoke-Timeout": f"{_TIMEOUT_S}s",
    }
    return Request("/api/function_invocations", headers=headers, body=json.dumps(content).encode(), subject=function)


def _card(reference: NuclioFunction, function: Function) -> ModelCard:
    shapes = shape_types(function.labels)
    host = urlsplit(reference.base_url).netloc
    return ModelCard(
        name=function.id,
        provider="nuclio",
        reference=reference.canonical,
        revision=function.revision,
        task_type=_task_type(shapes),
        labels=tuple(label.name for label in function.labels),
        shape_types=shapes,
        engine="hosted",
        limits=_LIMITS,
        settings={
            "base_url": reference.base_url,
            "function": reference.function,
            "label_specs": [label.as_json() for label in function.labels],
        },
        notes=(f"It is the function {function.title!r} on the Nuclio at {host}.",),
    )


def _direct_function(reference: NuclioFunction) -> Function:
    host = urlsplit(reference.base_url).netloc
    if not reference.labels:
        raise Unsupported(
            f"A function that is called directly does not say which labels it has ({host}).",
            hint=f"Write them behind its address: {reference.canonical}#labels=car,person; or paste its dashboard.",
        )
    labels = tuple(LabelSpec(name, "any") for name in reference.labels)
    return Function(host.replace(":", "-"), host, DETECTOR, "ready", "unpinned", labels)


async def _choice(caller: HttpCaller, headers: Mapping[str, str], reference: NuclioFunction) -> InvalidReference:
    """The refusal of a dashboard without a function's name, with those to choose from."""
    request = Request("/api/functions", "GET", headers=headers, subject="the list of functions")
    functions = parse_functions(await caller.json(request))
    detectors = [each for each in functions if each.kind == DETECTOR]
    listed = ", ".join(f"{reference.base_url}/api/functions/{each.id}" for each in detectors[:_MOST_LISTED])
    others = ", ".join(f"{each.id} ({each.kind})" for each in functions if each.kind != DETECTOR)[:500]
    return InvalidReference(
        f"This is a Nuclio dashboard with {len(detectors)} detectors; one has to be named.",
        hint=f"Paste one of: {listed or 'none is deployed'}." + (f" No detectors: {others}." if others else ""),
    )


def _task_type(shapes: Sequence[str]) -> str:
    """The nearest of the hub's task types."""
    if "rectangle" in shapes:
        return "object-detection"
    if set(shapes) & {"mask", "polygon"}:
        return "image-segmentation"
    if set(shapes) & {"skeleton", "points"}:
        return "keypoint-detection"
    return "image-classification" if set(shapes) == {"tag"} else "object-detection"


def _caller(base_url: str, context: Context) -> tuple[HttpCaller, dict[str, str]]:
    """``user:password`` of a Nuclio behind a proxy goes to this host alone."""
    host = urlsplit(base_url).netloc
    login = context.secret("nuclio", host)
    packed = base64.b64encode(login.encode()).decode("ascii") if login else None
    password = login.partition(":")[2] if login else None
    hint = f"Add USER:PASSWORD with `hubbridge connection add nuclio --host {host}`."
    caller = HttpCaller(
        base_url, context.http, Host(host, hint), secrets=(login, packed, password), timeout_s=_LIMITS.timeout_s
    )
    return caller, {"Authorization": f"Basic {packed}"} if packed else {}
