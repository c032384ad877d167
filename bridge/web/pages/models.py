"""Models: the list, and one with the place to try it."""

from __future__ import annotations

from adapters.cards import RunsOn
from adapters.promptable import ASKED_BY_HAND, abilities
from bridge.domain import Model
from bridge.web.answers import DownloadAnswer, ModelAnswer
from bridge.web.pages.call import Older, PageCall
from bridge.web.pages.rendering import Page

MODELS_A_PAGE = 100

SOURCES = {
    "huggingface": "Hugging Face",
    "roboflow": "Roboflow",
    "inference-server": "Inference server",
    "nuclio": "Nuclio",
    "local": "This server",
    "https": "Web address",
}

ENGINES = {"onnxruntime": "ONNX Runtime", "transformers": "PyTorch", "openvino": "OpenVINO"}


async def list_models(call: PageCall) -> Page:
    query, registry = call.query(Older), call.service.registry
    # Few are registered, and ids grow: the newest are the last of all.
    found = sorted(await registry.page(), key=lambda model: -model.id)
    found = [model for model in found if model.id < query.before]
    page = found[:MODELS_A_PAGE]
    values = {
        "models": [(model, registry.download(model), place(RunsOn.of(model.card))) for model in page],
        "older": page[-1].id if len(found) > MODELS_A_PAGE else None,
        "sources": SOURCES,
    }
    return Page("models.html", "Models", "models", values)


async def show_model(call: PageCall) -> Page:
    registry = call.service.registry
    model = await registry.get(call.ids["model_id"])
    download = registry.download(model)
    props = {
        "model": ModelAnswer.with_loaded(model, registry.loaded_card(model)).model_dump(mode="json"),
        "download": DownloadAnswer.of(download).model_dump(mode="json"),
    }
    values = {
        "model": model,
        "download": download,
        "place": place(RunsOn.of(model.card)),
        "by_hand": model.card.task_type in ASKED_BY_HAND,
        "tried_by": _tried_by(model),
        "source": SOURCES.get(model.card.provider, model.card.provider),
        "props": props,
    }
    return Page("model.html", model.name, "models", values)


def _tried_by(model: Model) -> str | None:
    """How its page tries it on an image. None of those that need more than one frame."""
    if model.card.task_type not in ASKED_BY_HAND:
        return "predict"
    return "segment" if "segment" in abilities(model.card) else None


def place(runs_on: RunsOn) -> str:
    """Where a model runs, in words; the module runs-on.js says the same."""
    if runs_on.engine == "hosted":
        return "At its host"
    device = f" on {runs_on.device}" if runs_on.device else ""
    precision = f", {runs_on.precision} precision" if runs_on.precision else ""
    return f"Here, {ENGINES.get(runs_on.engine, runs_on.engine)}{device}{precision}"
