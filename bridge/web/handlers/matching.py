"""Which task label a model label could be, and the mappings that were accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.domain import TaskLabel
from bridge.mappings import Mappings
from bridge.model_labels import describe, of_task
from bridge.pinning import labels_of
from bridge.task_labels import labels_from_json
from bridge.web.answers import LabelMatchAnswer, LabelMatches, MappingAnswer, MappingPage
from bridge.web.paging import cut
from bridge.web.requests import AddMapping, LabelIn, MappingsQuery, MatchLabels
from bridge.web.route import Call, Nothing
from labelmatch import Label


async def match_labels(call: Call[Nothing, MatchLabels]) -> LabelMatches:
    body, service = call.body, call.service
    names: Sequence[str | Label]
    if body.model_id is not None:
        card = (await service.registry.get(body.model_id)).card
        labels_of(card)  # an open vocabulary is refused
        names = describe(card)
    else:
        names = [label if isinstance(label, str) else _model_label(label) for label in body.model_labels or ()]
    labels: tuple[TaskLabel, ...]
    if body.task_id is not None:
        labels = (await service.tasks.get(body.task_id)).labels
    else:
        labels = labels_from_json([_written(label) for label in body.task_labels or ()])
    matches = await service.jobs.match(names, labels, shape_types=body.shape_types, min_score=body.min_score)
    return LabelMatches(matches=[LabelMatchAnswer.of(match.as_json()) for match in matches])


def _written(label: str | LabelIn) -> str | dict[str, Any]:
    return label if isinstance(label, str) else label.model_dump(exclude_none=True)


def _model_label(label: LabelIn) -> Label:
    (read,) = labels_from_json([_written(label)])
    return of_task(read)


async def list_mappings(call: Call[MappingsQuery, Nothing]) -> MappingPage:
    query = call.query
    found = await Mappings(call.service.store).page(
        model_id=query.model_id, task_id=query.task_id, after=query.after("mappings"), most=query.limit + 1
    )
    page, following = cut(found, query.limit, "mappings", lambda mapping: mapping.id)
    return MappingPage(mappings=[MappingAnswer.of(mapping) for mapping in page], next_cursor=following)


async def add_mapping(call: Call[Nothing, AddMapping]) -> MappingAnswer:
    body = call.body
    return MappingAnswer.of(await Mappings(call.service.store).add(body.model_id, body.task_id, body.pairs))


async def get_mapping(call: Call[Nothing, Nothing]) -> MappingAnswer:
    return MappingAnswer.of(await Mappings(call.service.store).get(call.ids["mapping_id"]))
