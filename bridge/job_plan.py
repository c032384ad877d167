"""What one run of a job needs to know, and what it tells while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.refine import Refinement


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How a job is run; the settings of [jobs]. Times are in seconds."""

    floor_score: float = 0.05
    max_detections: int = 300
    batch_size: int = 0  # 0: what the model's limits say
    read_ahead: int = 32
    commit_frames: int = 256
    commit_s: float = 0.2
    lease_s: float = 30.0
    patience_s: float = 120.0


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What one run needs to know of its job."""

    total: int
    done: int
    failed: int
    refinement: Refinement
    max_failure_rate: float
    shapes: int = 0  # made by earlier runs
    keep_results: bool = True
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of an open vocabulary


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, earlier runs of it included.

    ``frames_per_second`` is of the last seconds; ``seconds_left`` is None where unknown.
    """

    total: int
    done: int
    failed: int
    shapes: int
    frames_per_second: float
    seconds_left: float | None
