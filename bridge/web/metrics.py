"""What Prometheus can ask: requests, frames, calls and loadings of models, jobs, room. Nothing is made up."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from adapters.base import ModelCard
from bridge.domain import JobState
from bridge.registry import Registry


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
        self.calls = Counter(
            "hubbridge_model_calls",
            "Calls of models, by provider and how they ended: ok, cancelled or an error code.",
            ("provider", "outcome"),
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "hubbridge_model_call_duration_seconds",
            "Time of a call of a model, here or at its host.",
            ("provider",),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self.registry,
        )
        self.batches = Histogram(
            "hubbridge_model_batch_frames",
            "Frames in a call of a model.",
            ("provider",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.loads = Counter(
            "hubbridge_model_loads",
            "Models that were loaded, by provider and how that ended.",
            ("provider", "outcome"),
            registry=self.registry,
        )
        self.load_seconds = Histogram(
            "hubbridge_model_load_duration_seconds",
            "Time to load a model, its download included.",
            ("provider",),
            buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
            registry=self.registry,
        )
        self._waiting = Gauge(
            "hubbridge_predictions_waiting", "Single predictions that wait for a turn.", registry=self.registry
        )
        self._weights = Gauge(
            "hubbridge_model_weights_bytes", "Size of the weights of the loaded models.", registry=self.registry
        )
        self._hung = Gauge(
            "hubbridge_models_hung", "Models that hung and were not loaded anew since.", registry=self.registry
        )
        self._free = Gauge("hubbridge_disk_free_bytes", "Room on the disk of the data folder.", registry=self.registry)
        built = Gauge("hubbridge_build_info", "Always 1; the version.", ("version",), registry=self.registry)
        built.labels(version("hubbridge")).set(1)
        ProcessCollector(registry=self.registry)  # memory, processor time and open files, where the system says them

    def observe(self, registry: Registry) -> None:
        """Be told of every call and every loading of a model."""
        registry.observer.called, registry.observer.loaded = self._called, self._loaded

    def _called(self, card: ModelCard, frames: int, seconds: float, outcome: str) -> None:
        self.calls.labels(card.provider, outcome).inc()
        self.call_seconds.labels(card.provider).observe(seconds)
        self.batches.labels(card.provider).observe(frames)

    def _loaded(self, card: ModelCard, seconds: float, outcome: str) -> None:
        self.loads.labels(card.provider, outcome).inc()
        self.load_seconds.labels(card.provider).observe(seconds)

    def render(self, jobs: Mapping[JobState, int], registry: Registry, folder: Path) -> bytes:
        """The text format of Prometheus 0.0.4; ``folder`` is the data folder."""
        for state in JobState:
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._models.set(registry.loaded)
        self._waiting.set(registry.waiting)
        self._weights.set(registry.weights_bytes)
        self._hung.set(len(registry.hung))
        self._free.set(shutil.disk_usage(folder).free if folder.is_dir() else 0)
        return generate_latest(self.registry)
