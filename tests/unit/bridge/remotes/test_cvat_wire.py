"""What we write is what a CVAT client reads: every type of shape, read back by CVAT's own SDK; and video chunks."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from cvat_sdk.api_client import ApiClient, Configuration
from pytest import MonkeyPatch

from adapters.base import Mask
from adapters.network import HttpPolicy
from bridge.domain import JobState, Shape, Source
from bridge.errors import InvalidRequest, RemoteRefused
from bridge.masks import crop_mask, mask_from_polygon
from bridge.patience import Patience
from bridge.remotes.cvat.addresses import parse_address
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels, labels_of
from bridge.remotes.cvat.shapes import by_kind, from_body, kind_of, to_body
from tests.servers.cvat import TOKEN, CvatJob, CvatServer, CvatTask, State, images_task, label
from tests.servers.files import FileServer
from tests.unit.bridge.remotes.cvat_world import LABELS, cvat_world

SIZE = (64, 48)
COLOUR = {
    "id": 71,
    "name": "colour",
    "input_type": "select",
    "mutable": False,
    "values": ["red", "blue"],
    "default_value": "blue",
}
POINTS = [{**label(number, name, "points"), "has_parent": True} for number, name in ((41, "nose"), (42, "tail"))]
ALL = [
    label(31, "car", "any", attributes=[COLOUR]),
    label(32, "dog", "skeleton", sublabels=POINTS, svg="<circle/>"),
]
KNOWN = Labels(labels_of(ALL))


def _mask() -> bytes:
    return mask_from_polygon([[10, 10, 30, 12, 20, 40]], *SIZE).counts


SHAPES = [
    Shape("car", "rectangle", (-5.0, 3.0, 30.0, 90.0), score=0.5, attributes={"colour": "red"}),
    Shape("car", "rectangle", (10.0, 10.0, 30.0, 20.0), rotation=-30.0, score=0.5),
    Shape("car", "polygon", (1.0, 1.0, 60.0, 2.0, 30.0, 70.0), score=0.5, group=1),
    Shape("car", "ellipse", (30.0, 20.0, 10.0, 5.0), rotation=15.0, score=0.5),
    Shape("car", "points", (5.0, 5.0, 70.0, 9.0), score=0.5),
    Shape("car", "mask", (), _mask(), score=0.5),
    Shape("car", "tag", score=0.5),
    Shape("dog", "skeleton", (5.0, 5.0, 2.0, 9.0, 9.0, 0.0), score=0.5),
]


def test_every_type_of_shape_goes_there_and_comes_back() -> None:
    for shape in SHAPES:
        body = to_body(shape, 3, SIZE, KNOWN.by_name[shape.label], 9)
        assert body is not None, shape.type
        back = from_body(body, SIZE, KNOWN)
        assert (back.label, back.type, back.source) == (shape.label, shape.type, Source.AUTOMATIC)
        assert back.rle == shape.rle
        again = to_body(back, 3, SIZE, KNOWN.by_name[shape.label], 9)
        assert again == body


def test_what_leaves_is_inside_complete_and_finite() -> None:
    rectangle, turned, polygon, ellipse, points, mask, tag, skeleton = (
        to_body(shape, 3, SIZE, KNOWN.by_name[shape.label], 0) or {} for shape in SHAPES
    )
    assert rectangle["points"] == [0.0, 3.0, 30.0, 48.0]
    assert rectangle["attributes"] == [{"spec_id": 71, "value": "red"}]
    assert turned["rotation"] == 330.0
    assert turned["attributes"] == [{"spec_id": 71, "value": "blue"}]
    assert max(polygon["points"][1::2]) == 48
    assert ellipse["points"] == [30.0, 20.0, 40.0, 15.0]
    assert points["points"] == [5.0, 5.0, 64.0, 9.0]
    assert kind_of(tag) == "tags"
    assert [(e["label_id"], e["outside"], e["points"]) for e in skeleton["elements"]] == [
        (41, False, [5.0, 5.0]),
        (42, True, [5.0, 5.0]),
    ]
    left, top, bits = crop_mask(Mask(SIZE[1], SIZE[0], _mask())) or (0, 0, np.zeros((0, 0)))
    *runs, x1, y1, x2, y2 = mask["points"]
    assert (x1, y1, x2 - x1 + 1, y2 - y1 + 1) == (left, top, bits.shape[1], bits.shape[0])
    drawn = np.repeat(np.arange(len(runs)) % 2, runs).reshape(bits.shape)
    assert (drawn == bits).all()


@pytest.mark.parametrize(
    "shape",
    [
        Shape("car", "rectangle", (70.0, 3.0, 90.0, 9.0)),
        Shape("car", "rectangle", (float("nan"), 3.0, 9.0, 9.0)),
        Shape("car", "polygon", (70.0, 1.0, 80.0, 1.0, 90.0, 1.0)),
        Shape("car", "mask", (), b"broken"),
        Shape("dog", "skeleton", (5.0, 5.0, 0.0, 9.0, 9.0, 0.0)),
    ],
)
def test_what_is_not_on_the_frame_does_not_leave(shape: Shape) -> None:
    assert to_body(shape, 3, SIZE, KNOWN.by_name[shape.label], 0) is None


async def test_cvats_own_sdk_reads_what_we_wrote() -> None:
    remote = images_task(42, 5, ALL)
    with CvatServer(State(remote)) as cvat:
        client = CvatClient(
            cvat.url, TOKEN, patience=Patience(5), policy=HttpPolicy(frozenset({f"127.0.0.1:{cvat.port}"}))
        )
        bodies = [to_body(shape, 3, SIZE, KNOWN.by_name[shape.label], 0) for shape in SHAPES]
        content = by_kind(body for body in bodies if body)
        await client.create(4200, content)
        await client.close()

        def read() -> tuple[list[str], list[float], int]:
            with ApiClient(Configuration(host=cvat.url)) as api:
                api.default_headers["Authorization"] = f"Token {TOKEN}"
                found, _ = api.jobs_api.retrieve_annotations(4200)
            types = [str(shape.type) for shape in found.shapes]
            return types, [float(value) for value in found.shapes[0].points], len(found.tags)

        types, points, tags = await asyncio.to_thread(read)
        assert types == ["rectangle", "rectangle", "polygon", "ellipse", "points", "mask", "skeleton"]
        assert (points, tags) == ([0.0, 3.0, 30.0, 48.0], 1)


def _video(first: int, count: int) -> bytes:
    """An mp4 whose frame n is of grey 10 n."""
    packed = io.BytesIO()
    with av.open(packed, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(first, first + count):
            pixels = np.full((SIZE[1], SIZE[0], 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return packed.getvalue()


async def test_frames_of_a_video_come_out_of_its_chunks(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = CvatTask(42, "clip", LABELS, [CvatJob(4200, 0, 19)], (), ["clip.mp4"] * 20, [SIZE] * 20, 8)
    remote.video = [_video(0, 8), _video(8, 8), _video(16, 4)]
    greys: dict[str, float] = {}

    async def look(predictor: object, frames: object) -> None:
        greys.update({frame.id: float(frame.pixels.mean()) for frame in frames})  # type: ignore[attr-defined]

    async with cvat_world(tmp_path, monkeypatch, remote, behave=look) as made:
        assert made.task.frame_count == 20
        job = await made.run(frames={"start": 1, "step": 3})
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 7)
        expected = {f"clip.mp4#{number:06d}": 10 * number for number in range(1, 20, 3)}
        assert greys.keys() == expected.keys()
        assert all(abs(greys[name] - grey) < 5 for name, grey in expected.items())
        await made.check_exactly_once(replace(job))


def test_addresses_are_read_as_people_paste_them() -> None:
    for text in (
        "https://cvat.example/tasks/42",
        " https://CVAT.example/tasks/42/jobs/99?frame=3 ",
        "http://h:8080/x/tasks/42",
    ):
        assert (parse_address(text) or parse_address("http://x/tasks/1")).task == 42  # type: ignore[union-attr]
    job = parse_address("https://cvat.example/tasks/42/jobs/99?org=acme")
    assert str(job) == "https://cvat.example/tasks/42/jobs/99?org=acme"
    assert parse_address("https://cvat.example/projects/7").project == 7  # type: ignore[union-attr]
    for text in (
        "/home/me/tasks/42",
        "https://cvat.example/",
        "https://cvat.example/tasks/x",
        "ftp://a/tasks/1",
        "http://[/tasks/1",
        "http://a:x/tasks/1",
        "a.jpg",
    ):
        assert parse_address(text) is None
    with pytest.raises(InvalidRequest, match="password"):
        parse_address("https://me:secret@cvat.example/tasks/1")


@pytest.mark.parametrize(
    ("leads", "said"),
    [("https://cvat.example/auth/login?next=1", "https://cvat.example."), ("https://[::1/", "another address")],
)
async def test_a_redirect_is_refused_and_says_where_to_as_far_as_it_makes_sense(leads: str, said: str) -> None:
    with FileServer({}) as server:
        server.leads = leads
        client = CvatClient(
            server.url, TOKEN, patience=Patience(0.0), policy=HttpPolicy(frozenset({f"127.0.0.1:{server.port}"}))
        )
        with pytest.raises(RemoteRefused, match="sends us on to") as refused:
            await client.get("/moved/", "its version")
        await client.close()
    assert said in refused.value.message
