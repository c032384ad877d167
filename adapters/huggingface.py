"""A model of the hub, run here or by Hugging Face: the choice, and the card that says which and why."""

from __future__ import annotations

import asyncio
import dataclasses

from adapters.base import Context, ModelCard
from adapters.errors import PredictorError, Unsupported
from adapters.huggingface_access import hub_of, hub_token
from adapters.huggingface_answers import SHAPE_TYPES
from adapters.huggingface_hosted import INFERENCE_API, HuggingFaceHosted
from adapters.huggingface_local import HuggingFaceLocal
from adapters.references import HuggingFaceEndpoint, HuggingFaceModel, LocalFolder
from adapters.references.kinds import ROUTER
from adapters.where_to_run import AUTO, HOSTED, Choice, choose, choose_early


class HuggingFace(HuggingFaceLocal):
    """The Adapter of ``HuggingFaceModel``. One for its host gets a card of ``HuggingFaceHosted``, which opens it."""

    async def resolve(self, reference: HuggingFaceModel | LocalFolder, context: Context) -> ModelCard:
        if not isinstance(reference, HuggingFaceModel):
            return await super().resolve(reference, context)
        choice = await _choose(reference, context)
        if choice.place == HOSTED:
            if reference.revision or reference.file:
                text = f"{reference.repo_id} cannot run at its host at a chosen revision or file."
                raise Unsupported(text, hint="Leave the revision out, or take --run local.")
            card = await HuggingFaceHosted().resolve(HuggingFaceEndpoint(ROUTER + reference.repo_id), context)
        else:
            try:
                card = await super().resolve(reference, context)
            except Unsupported as error:
                if (
                    context.run == AUTO
                    and not context.offline
                    and await asyncio.to_thread(_is_served, reference, context)
                ):
                    hint = "Its host serves it: add a token and take --run hosted."
                    raise Unsupported(error.message, hint=f"{error.hint} {hint}".strip()) from error
                raise
        return dataclasses.replace(card, notes=(choice.why, *card.notes))


async def _choose(reference: HuggingFaceModel, context: Context) -> Choice:
    early = choose_early(
        context.run,
        has_token=hub_token(context) is not None,
        pinned=bool(reference.revision or reference.file),
        engine_chosen=context.engine != "auto",
        offline=context.offline,
    )
    return early or choose(served=await asyncio.to_thread(_is_served, reference, context))


def _is_served(reference: HuggingFaceModel, context: Context) -> bool:
    """Whether the Inference API runs the model now, for a task type that becomes shapes or tags."""
    hub, repo_id = hub_of(context), reference.repo_id
    try:
        task_type = hub.model_info(repo_id, None).pipeline_tag
        return task_type in SHAPE_TYPES and (hub.inference_status(repo_id) or {}).get(INFERENCE_API) == "live"
    except PredictorError:
        return False  # what is wrong with the model is said when it is resolved to run here
