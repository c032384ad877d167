"""A task's annotations: reading them, and files out and in."""

from __future__ import annotations

import re

from aiohttp import web

from bridge import formats
from bridge.domain import Source
from bridge.errors import InvalidRequest
from bridge.web.annotation_answers import AnnotatedFrame, AnnotationPage, FormatAnswer, FormatList, ImportAnswer
from bridge.web.paging import Paging, cut
from bridge.web.requests import ExportQuery, ImportQuery
from bridge.web.route import Call, Nothing
from bridge.web.sending import send_file
from bridge.web.uploads import Upload, UploadLimits, incoming_folder, receive_file


async def list_annotations(call: Call[Paging, Nothing]) -> AnnotationPage:
    query = call.query
    found = await call.service.tasks.frames_with_shapes(
        call.ids["task_id"], after=query.after("annotations", -1), most=query.limit + 1
    )
    page, following = cut(found, query.limit, "annotations", lambda entry: entry[0].number)
    return AnnotationPage(
        frames=[AnnotatedFrame.with_shapes(frame, tuple(shapes)) for frame, shapes in page], next_cursor=following
    )


async def list_formats(_: Call[Nothing, Nothing]) -> FormatList:
    return FormatList(formats=[FormatAnswer.of(entry) for entry in formats.FORMATS.values()])


async def export(call: Call[ExportQuery, Nothing]) -> web.StreamResponse:
    """The file is written whole before its first byte is sent, so that an error is still an error."""
    form = formats.find(call.query.format)
    task = await call.service.tasks.get(call.ids["task_id"])
    suffix = ".zip" if call.query.images else form.suffix
    async with incoming_folder(call.service.settings.storage.folder) as folder:
        path = folder / f"export{suffix}"
        if call.query.images:
            async with call.service.jobs.remotes.source(task) as images:
                await call.service.tasks.export(task, path, form.name, images)
        else:
            await call.service.tasks.export(task, path, form.name)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", task.name).strip("._") or "task"
        response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name[:80]}{suffix}"'})
        response.content_type = "application/octet-stream"
        return await send_file(call.request, path, response)


async def import_annotations(call: Call[ImportQuery, Nothing]) -> ImportAnswer:
    form = formats.find(call.query.format)
    service = call.service
    task = await service.tasks.get(call.ids["task_id"])
    settings = service.settings
    most = min(settings.server.max_upload_mb, settings.archives.max_annotations_mb) * 2**20
    async with incoming_folder(service.settings.storage.folder) as folder:
        upload = Upload(folder, UploadLimits(most, most))
        path = await receive_file(call.request, upload, f"annotations{form.suffix}")
        if path is None:
            raise InvalidRequest("The body holds no file.", hint="Send the annotation file as the body.")
        return ImportAnswer.of(await service.tasks.import_annotations(task, path, form.name, Source(call.query.source)))
