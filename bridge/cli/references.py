"""What a word on the command line names: a model that is registered, a folder that is here, or a reference.

A registered name comes first, then a folder that holds a model, then the hubs; ``hf://org/name`` always means the hub.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapters.base import ModelCard
    from bridge.app import App
    from bridge.domain import Model
    from bridge.profiles import Named

_MODEL_FILES = ("config.json", "*.onnx", "onnx/*.onnx")


async def registered(service: App, text: str) -> Model | None:
    from bridge.errors import NotFound  # noqa: PLC0415

    try:
        return await service.registry.find(text)
    except NotFound:
        return None


async def find_or_add(service: App, text: str) -> Model:
    """A registered model by that name, else the reference's, registered now. Raises InvalidRequest for a profile."""
    from bridge.errors import InvalidRequest  # noqa: PLC0415

    if (found := await registered(service, text)) is not None:
        return found
    if (profile := await service.profiles.named(text)) is not None:
        raise InvalidRequest(f"{text} is a profile.", hint=f"Name its model: {profile.model.name}.")
    with _saying_what_is_near(text, await _known(service)):
        return (await service.registry.add(await with_folder(text)))[0]


async def named_or_added(service: App, text: str) -> Named:
    """A profile or a registered model by that name, else the reference's model, registered now."""
    from bridge.profiles import Named  # noqa: PLC0415

    return await service.profiles.named(text) or Named(await find_or_add(service, text))


async def named(service: App, text: str) -> Named:
    """A profile or a registered model by its name, or a model by its id. Raises NotFound."""
    from bridge.profiles import Named  # noqa: PLC0415

    return await service.profiles.named(text) or Named(await service.registry.find(text))


async def card_of(service: App, text: str) -> ModelCard:
    """The card of a registered model, else of a reference, which is not registered."""
    model = await registered(service, text)
    if model is not None:
        return model.card
    with _saying_what_is_near(text, await _known(service)):
        return await service.registry.resolve(await with_folder(text))


async def _known(service: App) -> list[str]:
    from bridge.catalogue import catalogue  # noqa: PLC0415

    named = [each.profile.name if each.profile else each.model.name for each in await service.profiles.everything()]
    return [*named, *(entry.name for entry in catalogue())]


@contextmanager
def _saying_what_is_near(text: str, known: Sequence[str]) -> Iterator[None]:
    """A plain word that the hub has not either was most likely meant to be a name: say which, and what to paste."""
    from bridge.errors import BridgeError, NotFound  # noqa: PLC0415
    from bridge.near_names import did_you_mean  # noqa: PLC0415

    try:
        yield
    except BridgeError as error:
        if not re.fullmatch(r"[\w.+ -]+", text) or text in known:
            raise
        raise NotFound(
            f"No model is called {text[:100]!r} here, nor could it be had from Hugging Face: {error.message}",
            hint=f"{did_you_mean(text, known)}`hubbridge model list` and `hubbridge model catalogue` show the names. "
            "Or paste a URL (such as https://huggingface.co/onnx-community/rtdetr_r50vd).",
            code="model_not_registered",
        ) from error


async def with_folder(text: str) -> str:
    """The reference as it was given, or as a path where it names a folder that is here.

    A word that could be an id of the hub is a folder only where that holds a model's files.
    """
    return f"./{text}" if await asyncio.to_thread(_is_model_folder, text) else text


def _is_model_folder(text: str) -> bool:
    path = Path(text)
    try:
        if not text.strip() or path.is_absolute() or text.startswith((".", "~")) or not path.is_dir():
            return False
        return len(path.parts) > 2 or any(next(path.glob(pattern), None) for pattern in _MODEL_FILES)
    except (OSError, ValueError):
        return False  # too long or otherwise impossible for a path
