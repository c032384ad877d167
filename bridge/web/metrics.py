"""What Prometheus can ask: requests, predicted frames, jobs and loaded models. Nothing that is not measured."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.domain import JobState


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hubbridge_http_requests",
            "Answered requests, by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "hubbridge_http_request_duration_seconds",
            "Time from a request's head to the end of its answer; event streams are left out.",
            ("method", "route"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.frames = Counter(
            "hubbridge_frames_predicted",
            "Frames that a model has answered in this process, by what asked: a job, a single prediction or CVAT.",
            ("source",),
            registry=self.registry,
        )
        self._jobs = Gauge(
            "hubbridge_jobs", "Annotation jobs in the database, by state.", ("state",), registry=self.registry
        )
        self._models = Gauge("hubbridge_models_loaded", "Models in this process's memory.", registry=self.registry)

    def render(self, jobs: Mapping[JobState, int], models_loaded: int) -> bytes:
        """The text format of Prometheus 0.0.4."""
        for state in JobState:
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._models.set(models_loaded)
        return generate_latest(self.registry)
