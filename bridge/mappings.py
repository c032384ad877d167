"""Mappings as people keep them: accepted pairs of one model for one task, versioned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.domain import LabelMapping
from bridge.errors import InvalidRequest
from bridge.mapping import check_choices
from bridge.pinning import labels_of
from bridge.store import Store, learned
from bridge.store import models as rows
from bridge.store import tasks as task_rows


@dataclass(frozen=True, slots=True)
class Mappings:
    """The mappings of this installation."""

    store: Store

    async def add(self, model_id: int, task_id: int, pairs: Mapping[str, str]) -> LabelMapping:
        """Keep pairs as the next version, or return the latest one where it is the same, and learn from them.

        A model label with an empty task label is left out on purpose. Raises NotFound and InvalidRequest.
        """
        async with self.store.write() as connection:
            model = await rows.get_model(connection, model_id)
            task = await task_rows.get_task(connection, task_id)
            check_choices(pairs, labels_of(model.card), task.labels)
            accepted = {model_label: task_label for model_label, task_label in pairs.items() if task_label}
            if not accepted:
                raise InvalidRequest("The mapping is empty: nothing would be annotated.", code="nothing_matched")
            mapping = await rows.add_mapping(connection, model_id, task_id, accepted)
            await learned.learn(connection, [(m, t, True) for m, t in accepted.items()], mapping_id=mapping.id)
            return mapping

    async def get(self, mapping_id: int) -> LabelMapping:
        async with self.store.read() as connection:
            return await rows.get_mapping(connection, mapping_id)

    async def page(
        self, *, model_id: int | None = None, task_id: int | None = None, after: int = 0, most: int | None = None
    ) -> list[LabelMapping]:
        async with self.store.read() as connection:
            return await rows.list_mappings(connection, model_id=model_id, task_id=task_id, after=after, most=most)
