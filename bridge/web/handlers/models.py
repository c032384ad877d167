"""Registered models."""

from __future__ import annotations

import asyncio

from bridge.domain import Model
from bridge.fallback import allow_fallback
from bridge.registry import Registry, with_models
from bridge.understanding import understand
from bridge.web.answers import (
    Card,
    CatalogueAnswer,
    CatalogueEntryAnswer,
    DownloadAnswer,
    ModelAnswer,
    ModelPage,
    UnderstoodAnswer,
)
from bridge.web.folders import check_reference
from bridge.web.paging import Paging, cut
from bridge.web.requests import AddModel, ChangeModel, ResolveModel, UnderstandReference
from bridge.web.route import Call, Nothing, Reply


async def list_models(call: Call[Paging, Nothing]) -> ModelPage:
    query = call.query
    found = await call.service.registry.page(after=query.after("models"), most=query.limit + 1)
    page, following = cut(found, query.limit, "models", lambda model: model.id)
    return ModelPage(models=[_answer(call.service.registry, model) for model in page], next_cursor=following)


async def list_catalogue(call: Call[Nothing, Nothing]) -> CatalogueAnswer:
    found = await with_models(call.service.registry)
    return CatalogueAnswer(
        models=[
            CatalogueEntryAnswer(
                **{name: getattr(entry, name) for name in CatalogueEntryAnswer.model_fields if name != "model_id"},
                model_id=model.id if model else None,
            )
            for entry, model in found
        ]
    )


async def resolve_model(call: Call[Nothing, ResolveModel]) -> Card:
    await asyncio.to_thread(check_reference, call.body.reference, call.service.settings)
    body, registry = call.body, call.service.registry
    card = await registry.resolve(body.reference, engine=body.engine, run=body.run, may_download=False)
    return Card.of(card)


async def understand_reference(call: Call[Nothing, UnderstandReference]) -> UnderstoodAnswer:
    return UnderstoodAnswer.of(await understand(call.body.reference, call.service.registry))


async def add_model(call: Call[Nothing, AddModel]) -> Reply:
    body, registry = call.body, call.service.registry
    await asyncio.to_thread(check_reference, body.reference, call.service.settings)
    model, new = await registry.add(body.reference, name=body.name, engine=body.engine, run=body.run)
    if body.fallback:
        model = await allow_fallback(registry, model)
    if body.download and not model.fetched:
        model = await registry.fetch(model)
    return Reply(201 if new else 200, _answer(registry, model))


async def get_model(call: Call[Nothing, Nothing]) -> ModelAnswer:
    registry = call.service.registry
    return _answer(registry, await registry.get(call.ids["model_id"]))


async def get_download(call: Call[Nothing, Nothing]) -> DownloadAnswer:
    registry = call.service.registry
    return DownloadAnswer.of(registry.download(await registry.get(call.ids["model_id"])))


async def start_download(call: Call[Nothing, Nothing]) -> DownloadAnswer:
    registry = call.service.registry
    return DownloadAnswer.of(registry.start_download(await registry.get(call.ids["model_id"])))


async def change_model(call: Call[Nothing, ChangeModel]) -> ModelAnswer:
    body = call.body
    changed = await call.service.registry.set(call.ids["model_id"], name=body.name, threshold=body.threshold)
    return _answer(call.service.registry, changed)


async def remove_model(call: Call[Nothing, Nothing]) -> None:
    await call.service.registry.remove(call.ids["model_id"])


def _answer(registry: Registry, model: Model) -> ModelAnswer:
    return ModelAnswer.with_loaded(model, registry.loaded_card(model))
