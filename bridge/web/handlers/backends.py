"""The projects of Label Studio that use our ML backends."""

from __future__ import annotations

from bridge.ml_backend.connected import Connected, connected
from bridge.web.answers import LabelMatchAnswer, LabelStudioBackend, LabelStudioBackends
from bridge.web.route import Call, Nothing


async def list_backends(call: Call[Nothing, Nothing]) -> LabelStudioBackends:
    found = await connected(call.service.store, call.service.profiles)
    return LabelStudioBackends(backends=[_answer(each) for each in found])


def _answer(found: Connected) -> LabelStudioBackend:
    return LabelStudioBackend(
        task_id=found.task.id,
        project=found.task.remote_ref or "",
        name=found.name,
        model_version=found.model_version,
        outcome=found.outcome,
        job_id=None if found.job is None else found.job.id,
        asked_at=found.asked_at,
        pairs=dict(found.pairs),
        suggestions=[LabelMatchAnswer.of(match.as_json()) for match in found.suggestions],
        left_out=list(found.left_out),
        problem=found.problem,
    )
