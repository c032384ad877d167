"""Wiring: from settings to the parts of the service, opened and closed together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.interactive import Interactive
from bridge.job_plan import RunnerOptions
from bridge.jobs import Jobs
from bridge.learning import Learning
from bridge.ml_backend.backend import Backend
from bridge.ml_backend.projects import Projects
from bridge.ml_backend.retrievals import Retrievals
from bridge.net import endpoints, http_policy
from bridge.profiles import Profiles
from bridge.registry import Registry
from bridge.remotes import Access
from bridge.restore import finish_restore
from bridge.secrets import SecretBox
from bridge.settings import Settings
from bridge.sources.files import ImageLimits, VideoLimits
from bridge.store import Store
from bridge.tasks import Tasks
from bridge.tokens import Tokens

# The ecosystem's own names, by kind of connection.
SECRET_VARIABLES = {
    "huggingface": "HF_TOKEN",
    "roboflow": "ROBOFLOW_API_KEY",
    "cvat": "CVAT_ACCESS_TOKEN",
    "label-studio": "LABEL_STUDIO_API_KEY",
}


@dataclass(frozen=True, slots=True)
class App:
    """The parts of the service over one database."""

    settings: Settings
    store: Store
    registry: Registry
    tasks: Tasks
    jobs: Jobs
    learning: Learning
    tokens: Tokens
    interactive: Interactive
    profiles: Profiles
    ml_backend: Backend


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[App]:
    """Open the database and what stands on it. Raises BridgeError where it cannot be opened."""
    folder = settings.storage.folder
    await asyncio.to_thread(finish_restore, settings)
    store = await Store.open(settings.storage.sqlalchemy_url)
    registry = Registry(
        store=store,
        secrets=SecretBox.from_settings(settings),
        cache_dir=folder / "models",
        endpoints=endpoints(settings),
        http=http_policy(settings),
        environment_secrets={k: os.environ[v] for k, v in SECRET_VARIABLES.items() if os.environ.get(v)},
        engine=settings.models.engine,
        max_weights_bytes=settings.models.max_weights_mb * 2**20,
        openvino=settings.models.openvino,
        precision=settings.models.precision,
        keep_loaded=settings.models.keep_loaded,
        unload_after_s=settings.models.unload_after_seconds,
        offline=settings.models.offline,
    )
    tokens = Tokens(store, session_s=settings.auth.session_hours * 3600)
    tasks = Tasks(store, folder / "tasks", image_limits(settings))
    try:
        access = Access(
            store,
            registry.secret,
            registry.http,
            settle_s=settings.cvat.settle_seconds,
            decrypt=lambda token: registry.secrets.decrypt(token).get_secret_value(),
            max_image_bytes=settings.images.max_file_mb * 2**20,
            downloads=settings.label_studio.downloads,
            max_task_frames=settings.images.max_task_frames,
            hosts={"label-studio": urlsplit(settings.label_studio.base_url).netloc.lower()},
        )
        jobs = Jobs(store, registry, runner_options(settings), access)
        interactive = Interactive(registry, settings.models.embeddings_mb * 2**20)
        profiles = Profiles(store, registry)
        projects = Projects(store, registry.secrets, registry.http, settings.label_studio.base_url)
        within_s = settings.label_studio.answer_within_seconds
        backend = Backend(store, registry, jobs, interactive, profiles, projects, Retrievals(store, jobs), within_s)
        try:
            yield App(settings, store, registry, tasks, jobs, Learning(store), tokens, interactive, profiles, backend)
        finally:
            await backend.retrievals.close()
    finally:
        await registry.close()
        await tokens.close()
        await store.close()


def runner_options(settings: Settings) -> RunnerOptions:
    jobs = settings.jobs
    return RunnerOptions(
        floor_score=jobs.floor_score,
        max_detections=jobs.max_detections,
        batch_size=jobs.batch_size,
        read_ahead=jobs.read_ahead,
        commit_frames=jobs.commit_frames,
        commit_s=jobs.commit_ms / 1000,
        lease_s=jobs.lease_seconds,
        patience_s=jobs.patience_seconds,
    )


def image_limits(settings: Settings) -> ImageLimits:
    return ImageLimits(
        max_files=settings.archives.max_files,
        max_file_bytes=settings.images.max_file_mb * 2**20,
        max_pixels=settings.images.max_pixels,
        max_archive_bytes=settings.archives.max_total_mb * 2**20,
        max_task_frames=settings.images.max_task_frames,
        video=VideoLimits(
            max_frames=settings.videos.max_frames,
            max_file_bytes=settings.videos.max_file_mb * 2**20,
            max_pixels=settings.images.max_pixels,
            max_seconds=settings.videos.max_seconds,
        ),
    )
