"""What is wrong with a connection to Label Studio: every step that a prediction needs, tried once."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from adapters.errors import AccessDenied, PredictorError
from adapters.frame import Frame
from bridge.domain import StoredFrame
from bridge.errors import BridgeError, InvalidRequest
from bridge.findings import Finding
from bridge.label_studio.config import LabelConfig, interface_class, read_config
from bridge.ml_backend.plan import make_plan
from bridge.profiles import Named
from bridge.remotes import Access
from bridge.remotes.label_studio.address import host_of
from bridge.remotes.label_studio.client import Json, LabelStudio, Project
from bridge.remotes.label_studio.frames import frames_of, place_of
from bridge.remotes.label_studio.images import Images

OPEN_PRIVATE = "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at.

    base    the server; with ``project`` that project of it, too
    named   the model or profile that is to answer it
    """

    access: Access
    base: str
    project: int | None = None
    named: Named | None = None

    async def run(self) -> AsyncIterator[Finding]:
        """Each step as it was found; the first one that nothing can go on behind is the last."""
        try:
            interface_class()
            yield Finding("ok", "label-studio-sdk is installed.")
        except BridgeError as error:
            yield Finding("wrong", error.message, error.hint)
            return
        if not self.base:
            yield Finding(
                "wrong",
                "No Label Studio is named.",
                "Set LABEL_STUDIO_URL to its address, or [label_studio] url in config.toml.",
            )
            return
        key = await self.access.secret("label-studio", host_of(self.base))
        try:
            studio = LabelStudio(self.base, key, self.access.http, timeout_s=15.0)
        except AccessDenied as error:
            yield Finding("wrong", error.message, f"Set LABEL_STUDIO_URL={self.base}, which makes it trusted.")
            return
        try:
            async for finding in self._server(studio):
                yield finding
        finally:
            await studio.close()

    async def _server(self, studio: LabelStudio) -> AsyncIterator[Finding]:
        try:
            version = await studio.version()
        except PredictorError as error:
            yield Finding("wrong", f"{self.base}: {error.message}", error.hint or "Is it running, and at this address?")
            return
        yield Finding("ok", f"Label Studio {version or 'of an unknown version'} answers at {self.base}.")
        if studio.key_kind == "none":
            yield Finding(
                "wrong",
                "No access token is known: uploaded images cannot be fetched, and no predictions written.",
                "Set LABEL_STUDIO_API_KEY to the personal access token of Account & Settings.",
            )
            return
        kind = {"legacy": "legacy", "personal": "personal access", "access": "short-lived access"}[studio.key_kind]
        try:
            user = await studio.user()
        except PredictorError as error:
            hint = "Make a new one in Label Studio: Account & Settings."
            if studio.key_kind == "legacy":
                hint = "Allow legacy tokens (Organization: Access Token Settings), or use a personal access token."
            yield Finding("wrong", f"The {kind} token is refused: {error.message}", hint)
            return
        yield Finding("ok", f"The {kind} token is that of {user or 'a user'}.")
        if studio.key_kind == "access":
            yield Finding("note", "That token ends in a few minutes.", "Use the personal access token itself.")
        if self.project is not None:
            async for finding in self._project(studio, self.project):
                yield finding

    async def _project(self, studio: LabelStudio, number: int) -> AsyncIterator[Finding]:
        try:
            project = await studio.project(number)
            config = await asyncio.to_thread(read_config, project.label_config)
        except (PredictorError, BridgeError) as error:
            yield Finding("wrong", error.message, error.hint)
            return
        yield Finding("ok", f"Project {number}, {project.title!r}, has {project.task_number} tasks.")
        try:
            config.check()
        except InvalidRequest as error:
            yield Finding("wrong", error.message, error.hint)
            return
        for text in config.left_out:
            yield Finding("note", text)
        async for finding in self._image(studio, number, config):
            yield finding
        version = ""
        if self.named is not None:
            plan = await make_plan(self.access.store, self.named, config, None)
            version = plan.version
            try:
                plan.check()
                if plan.pairs:
                    pairs = ", ".join(f"{theirs}={ours}" for theirs, ours in list(plan.pairs.items())[:8])
                    yield Finding("ok", f"{len(plan.pairs)} labels of {plan.name} are matched: {pairs}.")
            except InvalidRequest as error:
                yield Finding("wrong", error.message, error.hint)
            unmatched = [label for label in config.label_names if label not in plan.pairs.values()]
            if unmatched and plan.pairs:
                yield Finding("note", f"No label of {plan.name} is matched to: {', '.join(unmatched[:12])}.")
        try:
            backends = await studio.backends(number)
        except PredictorError as error:
            yield Finding("note", f"The project's ML backends are not shown: {error.message}")
            return
        for finding in self._backends(project, backends, version):
            yield finding

    async def _image(self, studio: LabelStudio, number: int, config: LabelConfig) -> AsyncIterator[Finding]:
        """One image, as a prediction would fetch it."""
        images = Images(studio, self.access.http, self.access.max_image_bytes)
        try:
            tasks, _ = await studio.tasks(number, 1, 1)
            frames = [frame for task in tasks for frame in frames_of(task, config)]
            if not frames:
                yield Finding("note", "No task with an image was seen.")
                return
            shown = {place_of(StoredFrame(0, 0, each.name, each.path, 0, 0)).image for each in frames}
            for image in config.answered_images:
                if image.name not in shown:
                    yield Finding("note", f"The first task has no address of image {image.name!r} (${image.key}).")
            first = frames[0]
            row = StoredFrame(0, first.number or 0, first.name, first.path, 0, 0)
            place = place_of(row)
            data = await images.fetch(row.name, place.task_id, place.address)
            frame = await asyncio.to_thread(Frame.from_bytes, row.name, data)
            yield Finding("ok", f"An image was fetched: {row.name}, {frame.width} x {frame.height}.")
        except PredictorError as error:
            yield Finding("wrong", error.message, error.hint)
        finally:
            await images.close()

    def _backends(self, project: Project, backends: list[Json], version: str) -> list[Finding]:
        name = self.named.name if self.named is not None else ""
        ours = [each for each in backends if "/label-studio/" in str(each.get("url"))]
        mine = [each for each in ours if not name or str(each.get("url")).rstrip("/").endswith(f"/label-studio/{name}")]
        if not mine:
            return [
                Finding(
                    "note",
                    "The project has no ML backend of ours.",
                    f"In Label Studio: Settings, Model, Connect Model; its URL ends in /label-studio/{name or 'NAME'}",
                )
            ]
        found = []
        for each in mine:
            url = str(each.get("url"))
            if str(each.get("state")) not in ("CO", "TR", "PR"):
                text = f"Label Studio is not connected to {url}: {each.get('error_message') or each.get('state')}."
                found.append(Finding("wrong", text, _reaching(url)))
            else:
                found.append(Finding("ok", f"Label Studio is connected to {url}."))
        if version and project.model_version != version:
            found.append(
                Finding(
                    "note",
                    f"The project shows predictions of {project.model_version or 'no version'!r}; ours are called "
                    f"{version!r}, so their scores stay out of the Data Manager's score column.",
                    f"Once it has predictions, choose {version} in Settings, Annotation, Prelabeling.",
                )
            )
        return found


def _reaching(url: str) -> str:
    """How Label Studio gets to an address."""
    host = urlsplit(url).hostname or ""
    here = host == "localhost"
    try:
        address = ipaddress.ip_address(host)
        here, private = address.is_loopback, not address.is_global
    except ValueError:
        private = here or "." not in host
    if here:
        return f"From inside a container this name is the container. On one machine, start it with {OPEN_PRIVATE}."
    return f"Its server has to run with {OPEN_PRIVATE} to reach a private address." if private else "Is it reachable?"
