"""Which task label a model label could be, and the mappings that were accepted."""

from __future__ import annotations

from bridge.domain import TaskLabel
from bridge.mapping import LabelMatch
from bridge.mappings import Mappings
from bridge.pinning import labels_of
from bridge.task_labels import labels_from_json
from bridge.web.answers import AlternativeAnswer, LabelMatchAnswer, LabelMatches, MappingAnswer, MappingPage
from bridge.web.paging import cut
from bridge.web.requests import AddMapping, MappingsQuery, MatchLabels
from bridge.web.route import Call, Nothing


async def match_labels(call: Call[Nothing, MatchLabels]) -> LabelMatches:
    body, service = call.body, call.service
    names, shape_types = list(body.model_labels or ()), tuple[str, ...]()
    if body.model_id is not None:
        card = (await service.registry.get(body.model_id)).card
        names, shape_types = list(labels_of(card)), card.shape_types
    labels: tuple[TaskLabel, ...]
    if body.task_id is not None:
        labels = (await service.tasks.get(body.task_id)).labels
    else:
        labels = labels_from_json([{"name": name} for name in body.task_labels or ()])
    matches = await service.jobs.match(names, labels, shape_types=shape_types)
    return LabelMatches(matches=[_answer(match) for match in matches])


def _answer(match: LabelMatch) -> LabelMatchAnswer:
    best = match.best
    return LabelMatchAnswer(
        model_label=match.model_label,
        task_label=best.task_label if best else None,
        score=round(best.score, 4) if best else None,
        reason=best.reason if best else None,
        accepted=bool(best and best.accepted),
        alternatives=[
            AlternativeAnswer(task_label=other.task_label, score=round(other.score, 4), reason=other.reason)
            for other in match.alternatives
        ],
    )


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
