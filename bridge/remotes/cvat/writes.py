"""One change of a CVAT job's annotations, made exactly once although CVAT cannot be asked to do that.

CVAT takes a bulk of annotations as a whole or not at all, and numbers what it takes with rising ids. So after a request
that got no answer it is looked whether annotations like those sent stand there, above the ids that were known before:
for as long as the request may still be at work (``settle_s``), and only then is it sent again. Should the first one
have been at work even longer, the twins are found at the end of the run and taken away: of a shape of ours that still
stands, the newer copies that differ in nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from adapters.errors import Unavailable
from bridge.domain import Intent
from bridge.patience import Patience
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.shapes import KINDS, Body, Place, by_kind, kind_of, place_at, reference_to

log = structlog.get_logger(__name__)

POLL_S = 1.0
MOST_GONE = 5000  # annotations taken away by one request
NEAR = 0.51  # pixels: versions round coordinates differently


@dataclass(slots=True)
class Writes:
    """Of one run.

    known   the places of everything that our ledger has recorded, asked for where it is in doubt
    check   notes that an intent is about to be sent; raises where this run may not write any more
    """

    client: CvatClient
    patience: Patience
    settle_s: float
    known: Callable[[], Awaitable[set[Place]]]
    check: Callable[[Intent], Awaitable[None]]
    _doubted: list[Intent] = field(default_factory=list)

    async def create(self, intent: Intent, *, since: float | None = None) -> list[Body]:
        """What stands in CVAT of what the intent creates: the bodies sent, with their ids.

        since   when a request for it may have been sent by an earlier run (seconds since 1970)

        Raises RemoteRefused where CVAT takes none of it, and Unavailable where it is unknown what has happened.
        """
        sent = intent.body["create"]
        if not any(sent.get(kind) for kind in KINDS):
            return []

        async def attempt() -> list[Body]:
            nonlocal since
            if since is not None:
                found = await self._find(intent, since)
                if found is not None:
                    return found
                self._doubted.append(intent)
            await self.check(intent)
            try:
                answer = await self.client.create(int(intent.part), sent)
            except Unavailable:
                since = time.time()
                raise
            numbered = _numbered(sent, answer)
            if numbered is None:  # an answer in another order, or a shortened one
                since = time.time()
                numbered = await self._find(intent, since)
            if numbered is None:
                raise Unavailable(f"CVAT took annotations of job {intent.part} and does not show them.")
            return numbered

        return await self.patience.ask("CVAT", attempt)

    async def remove(self, intent: Intent) -> None:
        """Take away what goes. Raises Unavailable where it is unknown whether it has; asking again does no harm."""
        for start in range(0, len(intent.body["remove"]), MOST_GONE):
            gone = intent.body["remove"][start : start + MOST_GONE]
            await self.check(intent)
            await self._delete(intent, gone)

    async def remove_twins(self) -> None:
        """Of requests that were sent again, what the first one has brought after all."""
        doubted, self._doubted = self._doubted, []
        for intent in doubted:
            twins = await asyncio.to_thread(_twins, intent.body["create"], *await self._standing(intent))
            if twins:
                log.warning("CVAT carried out a request that it had not answered", job=intent.part, twins=len(twins))
                await self.check(intent)
                await self._delete(intent, twins)

    async def _delete(self, intent: Intent, gone: Iterable[Body]) -> None:
        content = {kind: [reference_to(body) for body in bodies] for kind, bodies in by_kind(gone).items()}
        await self.client.delete(int(intent.part), content)

    async def _find(self, intent: Intent, since: float) -> list[Body] | None:
        """What stands there of what was sent; None where nothing does and no request is at work any more.

        People may have taken some of it away in the meantime: then the rest is the answer.
        """
        while True:
            _, standing = await self._standing(intent)
            found = [body for body in await asyncio.to_thread(matched, intent.body["create"], standing) if body]
            if found:
                return found
            left = since + self.settle_s - time.time()
            if left <= 0:
                return None
            await self.patience.sleep(min(POLL_S, left))
            if self.patience.ending.is_set():
                raise Unavailable("The run ended before it was known what has become of a request to CVAT.")

    async def _standing(self, intent: Intent) -> tuple[list[Body], list[Body]]:
        """Annotations that are newer than the intent: those that our ledger knows, and those that it does not."""
        answer = await self.client.annotations(int(intent.part))
        known, after = await self.known(), intent.body["after"]
        ours: list[Body] = []
        strange: list[Body] = []
        for kind in KINDS:
            for body in answer[kind]:
                if isinstance(body.get("id"), int) and body["id"] > after.get(kind, 0):
                    (ours if (kind, body["id"]) in known else strange).append(body)
        return ours, strange


def _numbered(sent: Mapping[str, Sequence[Body]], answer: Any) -> list[Body] | None:
    """The bodies with the ids that were answered; None where the answer does not fit what was sent."""
    numbered: list[Body] = []
    for kind in KINDS:
        got = answer.get(kind, []) if isinstance(answer, dict) else None
        mine_of = sent.get(kind, ())
        if not isinstance(got, list) or len(got) != len(mine_of):
            return None
        for mine, theirs in zip(mine_of, got, strict=True):
            if not isinstance(theirs, dict) or not isinstance(theirs.get("id"), int) or not alike(mine, theirs):
                return None
            numbered.append({**mine, "id": theirs["id"]})
    return numbered


def matched(sent: Mapping[str, Iterable[Body]], standing: Iterable[Body]) -> list[Body | None]:
    """For each body sent, itself with the id of one that stands there and is like it; None where there is none left."""
    free: dict[tuple[Any, ...], list[Body]] = defaultdict(list)
    for body in sorted(standing, key=lambda body: int(body["id"])):
        free[_key(body)].append(body)
    found: list[Body | None] = []
    for kind in KINDS:
        for mine in sent.get(kind, ()):
            others = free[_key(mine)]
            place = next((place for place, other in enumerate(others) if alike(mine, other)), None)
            found.append(None if place is None else {**mine, "id": others.pop(place)["id"]})
    return found


def half_done(intents: Sequence[Intent], standing: Iterable[Body], known: Container[Place]) -> set[Place]:
    """The places of what these intents may have created, which no ledger ``known`` to us has yet, or may take away."""
    places = {place_at(body) for intent in intents for body in intent.body["remove"]}
    strange = [body for body in standing if place_at(body) not in known]
    for intent in intents:
        after = intent.body["after"]
        newer = [body for body in strange if body.get("id", 0) > after.get(kind_of(body), 0)]
        places |= {place_at(body) for body in matched(intent.body["create"], newer) if body}
    return places


def _twins(sent: Mapping[str, Sequence[Body]], ours: Sequence[Body], strange: Sequence[Body]) -> list[Body]:
    """Of what was sent, the copies that nobody knows beside one of ours.

    CVAT gives a shape that a person edits a new number. So where ours no longer stands, the copy is that person's.
    """
    stand = matched(sent, ours)
    bodies = [body for kind in KINDS for body in sent.get(kind, ())]
    doubled = by_kind(mine for mine, there in zip(bodies, stand, strict=True) if there is not None)
    by_place = {place_at(body): body for body in strange}
    found = [body for body in matched(doubled, strange) if body is not None]
    return [body for body in found if unchanged(body, by_place[place_at(body)])]


def with_rows(
    rows: Mapping[str, Sequence[Sequence[int]]], sent: Mapping[str, Sequence[Body]], created: Sequence[Body]
) -> list[tuple[Sequence[int], Body]]:
    """The created annotations with the rows of ours that they are; they are those sent, in order, some missing."""
    pairs, place = [], 0
    for kind in KINDS:
        for of_body, body in zip(rows.get(kind, ()), sent.get(kind, ()), strict=True):
            if place < len(created) and {**body, "id": created[place]["id"]} == created[place]:
                pairs.append((of_body, created[place]))
                place += 1
    return pairs


def _key(body: Mapping[str, Any]) -> tuple[Any, ...]:
    keyframes = len(body.get("shapes") or ())
    return body.get("frame"), body.get("label_id"), body.get("type"), len(body.get("points") or ()), keyframes


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Of the same frame, label and form, and in the same place; a track on each of its keyframes."""
    if _key(one) != _key(other):
        return False
    pairs = zip(one.get("points") or (), other.get("points") or (), strict=True)
    if any(abs(a - b) > NEAR for a, b in pairs):
        return False
    if abs((one.get("rotation") or 0.0) - (other.get("rotation") or 0.0)) > NEAR:
        return False
    if not all(alike(mine, theirs) and _same(mine, theirs, "outside") for mine, theirs in _keyframes(one, other)):
        return False
    parts, others = _parts(one), _parts(other)
    return parts.keys() == others.keys() and all(
        # Where a point that is not seen has been put says nothing.
        (part.get("outside") and others[label].get("outside")) or alike(part, others[label])
        for label, part in parts.items()
    )


def unchanged(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """As ``alike``, and nobody has changed its attributes, its points' visibility or who made it."""
    if not alike(one, other) or one.get("source") != other.get("source") or _values(one) != _values(other):
        return False
    if not _same(one, other, "outside", "occluded") or not all(unchanged(*pair) for pair in _keyframes(one, other)):
        return False
    parts, others = _parts(one), _parts(other)
    return all(_same(part, others[label], "outside", "occluded") for label, part in parts.items())


def _same(one: Mapping[str, Any], other: Mapping[str, Any], *flags: str) -> bool:
    return all(bool(one.get(flag)) == bool(other.get(flag)) for flag in flags)


def _keyframes(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Of two tracks that have as many of them, in pairs; none of other annotations."""

    def ordered(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return sorted(body.get("shapes") or (), key=lambda placed: int(placed.get("frame", 0)))

    return list(zip(ordered(one), ordered(other), strict=True))


def _parts(body: Mapping[str, Any]) -> dict[Any, Mapping[str, Any]]:
    return {part.get("label_id"): part for part in body.get("elements") or ()}


def _values(body: Mapping[str, Any]) -> dict[Any, str]:
    return {each.get("spec_id"): str(each.get("value")) for each in body.get("attributes") or ()}
