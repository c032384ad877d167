"""Which of the annotations that stand in CVAT a job replaces: what its ``clean`` names, where it looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.domain import Shape
from bridge.job_spec import Clean, JobSpec
from bridge.keeping import looked_at
from bridge.remotes.cvat.description import Labels, RemoteJob
from bridge.remotes.cvat.shapes import AUTO, Body, Place, Size, from_body, place_at
from bridge.remotes.cvat.tracks import Track
from bridge.store.remote_shapes import KnownShape


@dataclass(slots=True)
class Replaced:
    """Of one run.

    own      what the job has written itself
    known    what our jobs have written to the frames that are looked at
    spoken   CVAT job -> places that other jobs have left half written or half taken away
    stood    CVAT job -> kind -> the highest number that "clean" reaches; None: whatever stands there when it is looked
    """

    spec: JobSpec
    job_id: int
    labels: Labels
    own: set[Place]
    known: Mapping[Place, Sequence[KnownShape]] = field(default_factory=dict)
    spoken: dict[int, set[Place]] = field(default_factory=dict)
    stood: Mapping[str, Mapping[str, int]] | None = None

    def on_frame(self, part: int, bodies: Sequence[Body], size: Size) -> list[Body]:
        """Of a frame's shapes and tags."""
        named = self.labels.names  # of a label that came after the run began nothing could be brought back
        meant = [body for body in bodies if body.get("label_id") in named and self._is_meant(part, body)]
        roi = self.spec.roi
        if roi is None:
            return meant
        shapes = [self._shape(body, size) for body in meant]
        there = {id(shape) for shape in looked_at(shapes, roi, size)}
        return [body for body, shape in zip(meant, shapes, strict=True) if id(shape) in there]

    def tracks(self, job: RemoteJob, tracks: Sequence[Track]) -> list[tuple[Track, Sequence[Sequence[int]]]]:
        """Those that may go, with the frames that have to be done before: of a track that our jobs wrote its
        keyframes, of any other one all frames that it is on."""
        found: list[tuple[Track, Sequence[Sequence[int]]]] = []
        for track in tracks:
            if track.keyframes and track.label_id in self.labels.names and self._is_meant(job.id, track.body):
                ours = place_at(track.body) in self.known
                found.append((track, [track.keyframes] if ours else track.seen_on(job.stop)))
        return found

    def lies_in_region(self, track: Track, sizes: Mapping[int, Size]) -> bool:
        """Whether the job looked where it is on each of its keyframes."""
        roi = self.spec.roi
        if roi is None:
            return True
        placed = [(track.on(number), sizes[number]) for number in track.keyframes]
        return all(body and looked_at([from_body(body, size, self.labels)], roi, size) for body, size in placed)

    def _shape(self, body: Body, size: Size) -> Shape:
        """Of what our jobs wrote, a group is one object in parts; any other may be of many."""
        shape = from_body(body, size, self.labels)
        return shape if place_at(body) in self.known else replace(shape, group=0)

    def _is_meant(self, part: int, body: Body) -> bool:
        """Whether it is of those that ``clean`` names; never one that the job has made itself, or that a run of another
        job will look for when it goes on."""
        place = place_at(body)
        if place in self.own or place in self.spoken[part] or self._is_newer(part, place):
            return False
        match self.spec.clean:
            case Clean.ALL:
                return True
            case Clean.AUTOMATIC:
                return bool(body.get("source") == AUTO)
            case Clean.MODEL:
                known = self.known.get(place)
                return known is not None and known[0].job_id != self.job_id and known[0].model_id == self.spec.model_id
        return False

    def _is_newer(self, part: int, place: Place) -> bool:
        return self.stood is not None and place[1] > self.stood.get(str(part), {}).get(place[0], 0)
