"""Frames of a task: listing, uploading, and their pictures."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from PIL import Image

from adapters.frame import Frame, read_info
from bridge.app import App
from bridge.domain import Shape, StoredFrame, Task
from bridge.errors import InvalidRequest, translated
from bridge.preview import draw
from bridge.sources.files import Collected
from bridge.sources.frame_source import picture
from bridge.thumbnails import thumbnail
from bridge.web.annotation_answers import AnnotatedFrame, FrameAnswer, FramePage, FramesAdded, RejectedFile
from bridge.web.folders import allowed_path, allowed_roots
from bridge.web.paging import cut
from bridge.web.reading import read_json
from bridge.web.requests import FramesQuery, ImageQuery, ServerPaths, UploadQuery
from bridge.web.route import Call, Nothing
from bridge.web.sending import send_file
from bridge.web.uploads import UploadLimits, incoming_folder, receive


async def list_frames(call: Call[FramesQuery, Nothing]) -> FramePage:
    query = call.query
    after = max(query.after("frames", -1), query.start - 1)
    found = await call.service.tasks.frames(
        call.ids["task_id"], after=after, most=query.limit + 1, unannotated=query.only == "unannotated"
    )
    page, following = cut(found, query.limit, "frames", lambda frame: frame.number)
    return FramePage(frames=[FrameAnswer.of(frame) for frame in page], next_cursor=following)


async def add_frames(call: Call[UploadQuery, Nothing]) -> FramesAdded:
    task = await call.service.tasks.get(call.ids["task_id"])
    if call.request.content_type == "application/json":
        body = await read_json(call.request, ServerPaths)
        settings = call.service.settings
        paths = await asyncio.to_thread(lambda: [allowed_path(text, settings) for text in body.server_paths])
        roots = await asyncio.to_thread(allowed_roots, settings)
        found = await call.service.tasks.add_frames(
            task.id, paths, skip_known=call.query.skip_known, within=roots, video=call.query.video
        )
        _check_some(found)
    else:
        found = await _add_uploaded(call, task)
    rejected = [RejectedFile.of(entry) for entry in found.rejected]
    count = (await call.service.tasks.get(task.id)).frame_count
    return FramesAdded(
        frame_count=count, added=len(found.frames), rejected=rejected, skipped=found.skipped, known=found.known
    )


async def _add_uploaded(call: Call[UploadQuery, Nothing], task: Task) -> Collected:
    """Receive, move into the task's own folder when everything has come, and add."""
    settings, tasks = call.service.settings, call.service.tasks
    limits = UploadLimits(settings.server.max_upload_mb * 2**20, settings.images.max_file_mb * 2**20)
    async with incoming_folder(settings.storage.folder) as folder:
        upload = await receive(call.request, folder, limits, call.query.filename)
        kept = tasks.files_of(task.id) / folder.name.rpartition("~")[2]
        await asyncio.to_thread(_move, folder, kept)
    try:
        found = await tasks.add_frames(
            task.id,
            [kept / path for path in upload.paths()],
            skip_known=call.query.skip_known,
            video=call.query.video,
        )
        _check_some(found)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_remove, kept))
        raise
    await asyncio.to_thread(_remove_others, kept, {Path(frame.path) for frame in found.frames})
    return found


def _check_some(found: Collected) -> None:
    if not found.frames and not found.known and (found.rejected or found.skipped):
        reasons = "; ".join(entry.reason for entry in found.rejected[:3])
        raise InvalidRequest(
            "Nothing of what was given is an image or a video.",
            hint=reasons or "Give images, a video, or a zip or folder of images.",
            code="no_images",
        )


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _remove_others(folder: Path, frames: set[Path]) -> None:
    """Of what was uploaded only frames stay: not zips that were unpacked, nor what is no image or was there before."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in frames:
            path.unlink(missing_ok=True)
    if not any(path.is_file() for path in folder.rglob("*")):
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.rmdir()  # where the task has gone meanwhile, nothing stays
    except OSError:
        return


async def get_frame(call: Call[Nothing, Nothing]) -> AnnotatedFrame:
    frame, shapes = await call.service.tasks.frame(call.ids["task_id"], call.ids["number"])
    return AnnotatedFrame.with_shapes(frame, tuple(shapes))


async def get_image(call: Call[ImageQuery, Nothing]) -> web.StreamResponse:
    """With an ETag, so that a browser asks for a picture's bytes once; ids are used again, so it has to ask."""
    row, _ = await call.service.tasks.frame(call.ids["task_id"], call.ids["number"])
    width = call.query.width
    tag = await asyncio.to_thread(_tag, row, width)
    headers = {"Cache-Control": "private, no-cache"} | ({"ETag": tag} if tag else {})
    if tag and call.request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    frame = await _picture(call.service, row)
    with translated():
        if width is None and (form := await asyncio.to_thread(_form_as_stored, row)):
            response = web.StreamResponse(headers=headers)
            response.content_type = _media_type(form)
            return await send_file(call.request, Path(row.path), response)
        async with call.state.pixels.take(row.width * row.height):
            body, content_type = await asyncio.to_thread(_image, frame, width)
    return web.Response(body=body, content_type=content_type, headers=headers)


async def get_preview(call: Call[Nothing, Nothing]) -> web.Response:
    task = await call.service.tasks.get(call.ids["task_id"])
    row, shapes = await call.service.tasks.frame(task.id, call.ids["number"])
    frame = await _picture(call.service, row)
    colors = {label.name: label.color for label in task.labels}
    with translated():
        async with call.state.pixels.take(row.width * row.height):
            body = await asyncio.to_thread(_preview, frame, shapes, colors)
    return web.Response(body=body, content_type="image/jpeg")


async def _picture(service: App, row: StoredFrame) -> Frame:
    """The picture of a frame, from wherever its task has it."""
    task = await service.tasks.get(row.task_id)
    with translated():
        async with service.jobs.remotes.source(task) as source:
            return await picture(source, row)


def _tag(frame: StoredFrame, width: int | None) -> str | None:
    """Of the file as it is now; None where there is none to look at."""
    if not frame.path:
        return None
    try:
        state = Path(frame.path).stat()
    except (OSError, ValueError):
        return None
    text = f"{frame.path} {frame.video_pts} {state.st_mtime_ns} {state.st_size} {width}"
    return f'"{hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]}"'


def _image(frame: Frame, width: int | None) -> tuple[bytes, str]:
    """(the upright image file or a smaller JPEG of it, its media type)."""
    if width is not None:
        return thumbnail(frame, width), "image/jpeg"
    encoded = frame.encoded
    return encoded, _media_type(read_info(frame.id, encoded).format)


def _form_as_stored(row: StoredFrame) -> str:
    """Pillow's name of the format where the frame's own file is upright and can be sent as it is, else empty."""
    if not row.path or row.video_pts is not None:
        return ""
    info = read_info(row.name, Path(row.path))
    return info.format if info.orientation == 1 else ""


def _media_type(form: str) -> str:
    return Image.MIME.get(form, "application/octet-stream")


def _preview(frame: Frame, shapes: Sequence[Shape], colors: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    draw(frame.pixels, shapes, colors).save(packed, "JPEG", quality=90)
    return packed.getvalue()
