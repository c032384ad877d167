"""What people taught the label matcher: looking at it, carrying it elsewhere as JSON, forgetting it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import InvalidRequest
from bridge.mapping import replaced
from bridge.store import Store
from bridge.store import learned as rows
from bridge.store.learned import LearnedRow


class LearnedEntry(BaseModel):
    """One pair of the JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_label: str = Field(min_length=1, max_length=10_000)
    task_label: str = Field(min_length=1, max_length=10_000)
    accepted: bool


class LearnedDocument(BaseModel):
    """The JSON form of all pairs: ``{"version": 1, "pairs": [...]}``, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(default=1, ge=1, le=1)
    pairs: tuple[LearnedEntry, ...] = Field(max_length=200_000)


@dataclass(frozen=True, slots=True)
class Learning:
    """The learned pairs of this installation; jobs add to them, the matcher is given them."""

    store: Store

    async def pairs(self) -> list[LearnedRow]:
        async with self.store.read() as connection:
            return await rows.everything(connection)

    async def replaced(self) -> set[tuple[str, str]]:
        """The (model label, task label) of pairs on which a later one has the last word, where a task has both."""
        return replaced((row.model_label, row.task_label, row.accepted) for row in await self.pairs())

    async def export(self) -> LearnedDocument:
        found = await self.pairs()
        entries = [
            LearnedEntry(model_label=row.model_label, task_label=row.task_label, accepted=row.accepted) for row in found
        ]
        return LearnedDocument(pairs=tuple(entries))

    async def import_(self, data: Any) -> int:
        """Add the pairs of a document; they replace what was known of the same pairs. How many. InvalidRequest."""
        try:
            document = LearnedDocument.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            raise InvalidRequest(
                f"These are no learned pairs: {place}: {first['msg']}.",
                hint='The form is {"version": 1, "pairs": [{"model_label", "task_label", "accepted"}]}.',
            ) from error
        async with self.store.write() as connection:
            return await rows.learn(connection, [(e.model_label, e.task_label, e.accepted) for e in document.pairs])

    async def forget(self, model_label: str | None = None, task_label: str | None = None) -> int:
        """Forget the pairs with these labels, None standing for any; how many there were."""
        async with self.store.write() as connection:
            return await rows.forget(connection, model_label, task_label)
