"""Frames over HTTP: uploads that work, that are refused and that break off, and what is left on disk then."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from yarl import URL

from bridge.errors import InvalidRequest
from bridge.owner import owner_here
from bridge.web.uploads import remove_abandoned, safe_name
from tests.unit.bridge.videos import make_video, number_in
from tests.unit.bridge.web.conftest import Api, picture

PNG = {"Content-Type": "image/png"}


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def left_on_disk(api: Api) -> list[Path]:
    """Uploaded files, wherever they stand."""
    data = api.folder / "data"
    return [path for folder in ("tasks", "incoming") for path in (data / folder).rglob("*")]


async def names(api: Api, task_id: int) -> list[str]:
    return [frame["name"] for frame in (await api.call("GET", f"/v1/tasks/{task_id}/frames"))["frames"]]


async def test_images_keep_the_paths_that_they_were_sent_with(api: Api) -> None:
    task = await api.task()
    files = {"b/10.png": picture(1), "b/9.png": picture(2), "a.jpg": picture(3, "JPEG"), "b\\c/x.png": picture(4)}
    answer = await api.upload(task["id"], files)
    assert answer == {"frame_count": 4, "added": 4, "rejected": [], "skipped": 0, "known": 0}
    assert await names(api, task["id"]) == ["a.jpg", "b/9.png", "b/10.png", "b/c/x.png"]


async def test_zips_are_unpacked_and_what_is_no_image_is_named(api: Api) -> None:
    task = await api.task()
    archive = zipped({"in/1.png": picture(1), "in/2.jpg": b"text", "notes.txt": b"text"})
    answer = await api.upload(task["id"], {"all.zip": archive, "extra.png": picture(2), "odd": picture(3)})
    assert answer["added"] == 3
    assert answer["skipped"] == 1
    assert [entry["name"] for entry in answer["rejected"]] == ["in/2.jpg"]
    assert set(await names(api, task["id"])) == {"extra.png", "in/1.png", "odd"}


@pytest.mark.parametrize("where", ["query", "header"])
async def test_one_file_as_the_body_is_named_by_query_or_header(api: Api, where: str) -> None:
    task = await api.task()
    path = f"/v1/tasks/{task['id']}/frames" + ("?filename=d/x.png" if where == "query" else "")
    headers = {**PNG, **({"X-Filename": "d/x.png"} if where == "header" else {})}
    await api.call("POST", path, expect=201, data=picture(1), headers=headers)
    assert await names(api, task["id"]) == ["d/x.png"]


async def test_a_nameless_body_gets_the_ending_of_its_type(api: Api) -> None:
    task = await api.task()
    await api.call("POST", f"/v1/tasks/{task['id']}/frames", expect=201, data=picture(1), headers=PNG)
    headers = {"Content-Type": "application/zip"}
    archive = zipped({"1.png": picture(1)})
    await api.call("POST", f"/v1/tasks/{task['id']}/frames", expect=201, data=archive, headers=headers)
    assert await names(api, task["id"]) == ["upload.png", "1.png"]


async def test_a_second_upload_of_a_name_is_refused_or_passed_over_and_leaves_nothing(api: Api) -> None:
    task = await api.task(pictures=1)
    before = left_on_disk(api)
    both = {"000.png": picture(1), "new.png": picture(2)}
    answer = await api.upload(task["id"], both, expect=409)
    assert answer["error"]["code"] == "conflict"
    assert await names(api, task["id"]) == ["000.png"]
    assert left_on_disk(api) == before
    answer = await api.upload(task["id"], both, query="?skip_known=true")
    assert (answer["added"], answer["known"]) == (1, 1)
    again = await api.upload(task["id"], {"000.png": picture(1), "bad.png": b"text"}, query="?skip_known=true")
    assert (again["added"], again["known"]) == (0, 1), "an image was among them, if one that is there"
    assert [entry["name"] for entry in again["rejected"]] == ["bad.png"]


async def test_two_files_of_one_name_are_both_kept(api: Api) -> None:
    task = await api.task()
    form = FormData()
    for seed in (1, 2):
        form.add_field("files", picture(seed), filename="a.png")
    await api.call("POST", f"/v1/tasks/{task['id']}/frames", expect=201, data=form)
    found = await names(api, task["id"])
    assert len(found) == len(set(found)) == 2


@pytest.mark.parametrize(
    "name", ["../../escape.png", "/etc/escape.png", "..\\..\\escape.png", ".escape.png", "a\nescape.png"]
)
async def test_no_name_leads_out_of_the_upload(api: Api, name: str) -> None:
    task = await api.task()
    path = str(URL(f"/v1/tasks/{task['id']}/frames").with_query(filename=name))
    await api.call("POST", path, expect=201, data=picture(1), headers=PNG)
    escaped = list(api.folder.rglob("*escape*"))
    assert len(escaped) == 1
    assert api.folder / "data" / "tasks" / str(task["id"]) in escaped[0].parents
    assert ".." not in (await names(api, task["id"]))[0]


@given(st.text())
def test_any_name_becomes_a_safe_relative_path_or_is_refused(name: str) -> None:
    try:
        safe = safe_name(name)
    except InvalidRequest:
        return
    assert not safe.is_absolute()
    assert all(part not in ("", ".", "..") and not part.startswith(".") for part in safe.parts)
    assert all(len(part.encode()) <= 255 and part.isprintable() for part in safe.parts)


@pytest.mark.parametrize(
    "files", [{"a.txt": b"text"}, {"a.png": b"text"}, {"a.zip": zipped({"a.txt": b"text"})}, {"a.png": b""}]
)
async def test_an_upload_without_any_image_is_refused_and_leaves_nothing(api: Api, files: dict[str, bytes]) -> None:
    task = await api.task()
    answer = await api.upload(task["id"], files, expect=400)
    assert answer["error"]["code"] == "no_images"
    assert left_on_disk(api) == []


async def test_a_broken_zip_and_an_empty_or_broken_form_are_refused(api: Api) -> None:
    task = await api.task()
    path = f"/v1/tasks/{task['id']}/frames"
    await api.upload(task["id"], {"a.zip": b"no zip"}, expect=400)
    form = FormData()
    form.add_field("note", "text", content_type="text/plain")
    form.add_field("x", b"", filename="")
    await api.call("POST", path, expect=400, data=form)
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "x" * 99):
        await api.error("POST", path, 400, "invalid_request", data=b"--y\r\n\r\nz", headers={"Content-Type": kind})
    assert left_on_disk(api) == []


@pytest.mark.parametrize("sections", [{"server": {"max_upload_mb": 1, "port": 0}}])
@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_an_upload_is_refused_and_leaves_nothing(api: Api, chunked: bool) -> None:
    task = await api.task()

    async def slowly() -> Any:
        for _ in range(40):
            yield b"\0" * 2**16
            await asyncio.sleep(0)

    data = slowly() if chunked else io.BytesIO(b"\0" * (3 * 2**20))
    headers = {"Content-Type": "application/zip"}
    await api.error("POST", f"/v1/tasks/{task['id']}/frames", 413, "too_large", data=data, headers=headers)
    assert left_on_disk(api) == []


@pytest.mark.parametrize("sections", [{"images": {"max_file_mb": 1}}])
async def test_a_single_image_over_its_limit_is_refused(api: Api) -> None:
    task = await api.task()
    files = {"a.png": picture(1) + b"\0" * 2**20}
    assert (await api.upload(task["id"], files, expect=413))["error"]["code"] == "too_large"
    assert left_on_disk(api) == []


@pytest.mark.parametrize("form", [True, False])
async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(api: Api, form: bool) -> None:
    task = await api.task()
    url = URL(api.server.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    kind = "multipart/form-data; boundary=x" if form else "image/png"
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' if form else b""
    writer.write(
        f"POST /v1/tasks/{task['id']}/frames HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: 1000000\r\n\r\n".encode()
        + part
        + b"\0" * 100_000
    )
    await writer.drain()
    async with asyncio.timeout(60):
        while not [path for path in left_on_disk(api) if path.is_file()]:
            await asyncio.sleep(0.01)
    writer.close()
    async with asyncio.timeout(60):
        while left_on_disk(api):
            await asyncio.sleep(0.01)
    assert await names(api, task["id"]) == []


async def test_what_a_killed_process_left_is_removed_and_what_lives_stays(tmp_path: Path) -> None:
    host, pid, started = owner_here().rsplit("/", 2)
    dead = tmp_path / "incoming" / f"{host}~{pid}~1~abc"
    alive = tmp_path / "incoming" / f"{host}~{pid}~{started}~abc"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "a").touch()
    assert remove_abandoned(tmp_path) == 1
    assert not dead.exists()
    assert alive.exists()


async def test_an_upload_to_a_task_that_is_removed_meanwhile_leaves_nothing(api: Api) -> None:
    task = await api.task()

    async def slowly() -> Any:
        data = picture(1)
        yield data[:20]
        await api.call("DELETE", f"/v1/tasks/{task['id']}", expect=204)
        yield data[20:]

    await api.error("POST", f"/v1/tasks/{task['id']}/frames", 404, "not_found", data=slowly(), headers=PNG)
    assert left_on_disk(api) == []


async def test_folders_of_the_server_are_read_where_they_are(api: Api) -> None:
    task = await api.task()
    images = api.folder / "shared" / "images"
    images.mkdir()
    (images / "1.png").write_bytes(picture(1))
    body = {"server_paths": [str(images)]}
    answer = await api.call("POST", f"/v1/tasks/{task['id']}/frames", body, 201)
    assert answer["added"] == 1
    status, data, _ = await api.raw("GET", f"/v1/tasks/{task['id']}/frames/0/image")
    assert (status, data) == (200, picture(1))
    await api.call("DELETE", f"/v1/tasks/{task['id']}", expect=204)
    assert (images / "1.png").exists()


@pytest.mark.parametrize(
    "path", ["/etc", "{shared}/../secret", "{shared}/link", "{shared}/link/1.png", "/", "{shared}x"]
)
async def test_paths_outside_the_allowed_folders_are_refused(api: Api, path: str) -> None:
    secret, shared = api.folder / "secret", api.folder / "shared"
    secret.mkdir()
    (secret / "1.png").write_bytes(picture(1))
    (shared / "link").symlink_to(secret)
    task = await api.task()
    body = {"server_paths": [path.format(shared=shared)]}
    await api.error("POST", f"/v1/tasks/{task['id']}/frames", 403, "folder_not_allowed", body)


async def test_a_link_inside_an_allowed_folder_leads_no_further_than_the_folder(api: Api) -> None:
    secret, shared = api.folder / "secret.png", api.folder / "shared"
    secret.write_bytes(picture(1))
    (shared / "link.png").symlink_to(secret)
    (shared / "real.png").write_bytes(picture(2))
    (shared / "again.png").symlink_to(shared / "real.png")
    task = await api.task()
    answer = await api.call("POST", f"/v1/tasks/{task['id']}/frames", {"server_paths": [str(shared)]}, 201)
    assert [entry["name"] for entry in answer["rejected"]] == ["link.png"]
    assert set(await names(api, task["id"])) == {"again.png", "real.png"}


async def test_of_an_upload_only_frames_stay_on_disk(api: Api) -> None:
    task = await api.task()
    await api.upload(task["id"], {"good.png": picture(1), "bad.png": b"text", "notes.txt": b"text"})
    assert [path.name for path in left_on_disk(api) if path.is_file()] == ["good.png"]
    files = {"good.png": picture(1), "new.png": picture(2)}
    await api.upload(task["id"], files, query="?skip_known=true")
    assert sorted(path.name for path in left_on_disk(api) if path.is_file()) == ["good.png", "new.png"]


@pytest.mark.parametrize("path", ["relative", "{shared}/missing", "~"])
async def test_paths_that_are_none_are_refused(api: Api, path: str) -> None:
    task = await api.task()
    body = {"server_paths": [path.format(shared=api.folder / "shared")]}
    await api.error("POST", f"/v1/tasks/{task['id']}/frames", 400, "invalid_request", body)


async def test_pictures_and_previews(api: Api) -> None:
    task = await api.task(pictures=1)
    path = f"/v1/tasks/{task['id']}/frames/0"
    status, data, response = await api.raw("GET", f"{path}/image")
    assert (status, data, response.content_type) == (200, picture(0), "image/png")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    status, data, response = await api.raw("GET", f"{path}/preview")
    assert (status, response.content_type) == (200, "image/jpeg")
    assert data.startswith(b"\xff\xd8")
    frame = await api.call("GET", path)
    assert (frame["name"], frame["width"], frame["height"], frame["shapes"]) == ("000.png", 40, 30, [])
    for kept in (api.folder / "data" / "tasks").rglob("*.png"):
        kept.unlink()
    await api.error("GET", f"{path}/image", 422, "bad_frame")
    await api.error("GET", f"{path}/preview", 422, "bad_frame")


async def test_many_frames_come_page_by_page(api: Api) -> None:
    task = await api.task(pictures=5)
    first = await api.call("GET", f"/v1/tasks/{task['id']}/frames?limit=3")
    rest = await api.call("GET", f"/v1/tasks/{task['id']}/frames", params={"cursor": first["next_cursor"]})
    numbers = [frame["number"] for frame in first["frames"] + rest["frames"]]
    assert (numbers, rest["next_cursor"]) == ([0, 1, 2, 3, 4], None)


async def test_frames_of_a_video_are_uploaded_chosen_and_shown(api: Api) -> None:
    task = await api.task()
    body = make_video(api.folder / "made.mp4", frames=30).read_bytes()
    wanted = "?start=5&stop=26&step=10"
    both = await api.upload(task["id"], {"clip.mp4": body, "a.png": picture(1)}, query=wanted, expect=400)
    assert "None of the given images is in the range" in both["error"]["message"]
    assert await names(api, task["id"]) == []
    await api.upload(task["id"], {"a.png": picture(1)})
    answer = await api.upload(task["id"], {"clip.mp4": body}, query=wanted)
    assert answer == {"frame_count": 4, "added": 3, "rejected": [], "skipped": 0, "known": 0}
    assert await names(api, task["id"]) == ["a.png", "clip_000005", "clip_000015", "clip_000025"]
    tags = set()
    for number, shown in enumerate((5, 15, 25), 1):
        path = f"/v1/tasks/{task['id']}/frames/{number}"
        status, data, response = await api.raw("GET", f"{path}/image")
        assert (status, response.content_type) == (200, "image/jpeg")
        assert number_in(np.asarray(Image.open(io.BytesIO(data)))) == shown
        tags.add(response.headers["ETag"])
        again = {"If-None-Match": response.headers["ETag"]}
        assert (await api.raw("GET", f"{path}/image", headers=again))[0] == 304
        status, data, _ = await api.raw("GET", f"{path}/image?width=40")
        assert Image.open(io.BytesIO(data)).size == (40, 24)
    assert len(tags) == 3
    assert [path.suffix for path in left_on_disk(api) if path.is_file()].count(".mp4") == 1
    await api.call("DELETE", f"/v1/tasks/{task['id']}", expect=204)
    assert left_on_disk(api) == []


async def test_a_video_as_the_body_has_the_suffix_of_its_type(api: Api) -> None:
    task = await api.task()
    body = make_video(api.folder / "made.mov", frames=3).read_bytes()
    headers = {"Content-Type": "video/quicktime"}
    answer = await api.call("POST", f"/v1/tasks/{task['id']}/frames", expect=201, data=body, headers=headers)
    assert answer["added"] == 3
    assert (await names(api, task["id"]))[0] == "upload_000000"
    message = await api.error(
        "POST", f"/v1/tasks/{task['id']}/frames", 400, "no_images", data=b"no video", headers=headers
    )
    assert message == "Nothing of what was given is an image or a video."


@pytest.mark.parametrize("sections", [{"videos": {"max_frames": 10}}])
async def test_a_video_of_too_many_frames_is_refused_and_leaves_nothing(api: Api) -> None:
    task = await api.task()
    body = make_video(api.folder / "made.mp4", frames=11).read_bytes()
    answer = await api.upload(task["id"], {"clip.mp4": body}, expect=400)
    assert answer["error"]["hint"] == "clip.mp4 has 11 such frames; at most 10 are taken."
    assert left_on_disk(api) == []
    assert (await api.upload(task["id"], {"clip.mp4": body}, query="?step=2"))["added"] == 6
