"""Downloads of model files in this process: how far each one is, and why the last one failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import structlog

from adapters.base import LoadStep, Report
from bridge.domain import Model
from bridge.errors import BridgeError

log = structlog.get_logger(__name__)

Progress = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class DownloadState:
    """Where a model's files are: not here, on their way, here, or not to be had for the reason given.

    ``loading``: here, and the model does what ``doing`` says before it can answer. A model at its host has no files,
    and is always ready.
    """

    state: Literal["absent", "downloading", "loading", "ready", "failed"]
    done_bytes: int = 0
    total_bytes: int | None = None
    error: str | None = None
    doing: str | None = None


@dataclass(slots=True)
class Downloads:
    """By model id. What another process downloads is not seen until it is done."""

    _running: dict[int, DownloadState] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def of(self, model: Model) -> DownloadState:
        if model.id in self._running:
            return self._running[model.id]
        if model.id in self._failed:
            return DownloadState("failed", error=self._failed[model.id])
        here = model.fetched or model.card.engine == "hosted" or model.card.provider == "local"
        return DownloadState("ready" if here else "absent", total_bytes=model.card.weights_bytes)

    @contextmanager
    def watch(self, model: Model, progress: Progress) -> Iterator[Progress]:
        """While the block fetches or loads a model: what it reports is seen here, and so is how it ends."""
        self._failed.pop(model.id, None)

        def seen(report: Report) -> None:
            if isinstance(report, LoadStep):
                total = model.card.weights_bytes
                self._running[model.id] = DownloadState("loading", total or 0, total, doing=report.doing)
                log.info("a model is loaded", model=model.name, doing=report.doing)
            else:
                self._running[model.id] = DownloadState("downloading", report.done_bytes, report.total_bytes or None)
            progress(report)

        try:
            yield seen
        except BridgeError as error:
            self._failed[model.id] = f"{error.message} {error.hint}".strip()
            raise
        finally:
            self._running.pop(model.id, None)

    def start(self, model: Model, fetch: Callable[[], Awaitable[object]]) -> DownloadState:
        """Begin in the background, unless it is on its way already; how it ends is told by ``of``."""
        if model.id not in self._tasks:
            self._running.setdefault(model.id, DownloadState("downloading", total_bytes=model.card.weights_bytes))
            self._tasks[model.id] = asyncio.create_task(self._run(model.id, fetch))
        return self.of(model)

    async def _run(self, model_id: int, fetch: Callable[[], Awaitable[object]]) -> None:
        try:
            await fetch()
        except BridgeError:
            return  # kept by watch
        except Exception:
            log.exception("a download failed unexpectedly", model=model_id)
            self._failed[model_id] = "Something unexpected went wrong; the log says more."
        finally:
            self._running.pop(model_id, None)
            self._tasks.pop(model_id, None)

    def forget(self, model_id: int) -> None:
        """The model was removed; its id may be given to another."""
        self._failed.pop(model_id, None)
        if model_id in self._tasks:
            self._tasks[model_id].cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
