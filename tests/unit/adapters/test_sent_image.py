"""What a host sees of a frame, and the way back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from adapters.base import Detections, Polygon, RotatedRectangle, Skeleton
from adapters.dense_masks import bits_of, mask_of
from adapters.errors import BadFrame
from adapters.frame import Frame
from adapters.sent_image import SentImage, scale_back, sent_image

NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


def file_frame(folder: Path, name: str, image: Image.Image, **options: object) -> Frame:
    image.save(folder / name, **options)
    return Frame.from_file(name, folder / name)


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.png", "RGB"), ("a.png", "L")])
def test_plain_files_are_sent_as_they_are(tmp_path: Path, name: str, mode: str) -> None:
    frame = file_frame(tmp_path, name, Image.fromarray(NOISE).convert(mode))
    sent = sent_image(frame)
    assert sent.data == (tmp_path / name).read_bytes()
    assert sent.content_type == ("image/jpeg" if name.endswith("jpg") else "image/png")


@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGBA"), ("a.png", "P"), ("a.jpg", "CMYK"), ("a.bmp", "RGB")])
def test_what_hosts_read_each_in_their_own_way_is_sent_as_jpeg(tmp_path: Path, name: str, mode: str) -> None:
    sent = sent_image(file_frame(tmp_path, name, Image.fromarray(NOISE).convert(mode)))
    with Image.open(io.BytesIO(sent.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (400, 300))
    assert (sent.width, sent.height) == (400, 300)


def test_a_turned_photo_is_sent_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sent = sent_image(file_frame(tmp_path, "a.jpg", Image.fromarray(NOISE), exif=exif))
    assert (sent.width, sent.height) == (300, 400)
    with Image.open(io.BytesIO(sent.data)) as image:
        assert image.size == (300, 400)


def test_a_frame_above_the_size_limit_is_scaled_down_until_it_fits() -> None:
    sent = sent_image(Frame("a", 400, 300, pixels=NOISE), max_bytes=20_000)
    assert len(sent.data) <= 20_000
    assert 0 < sent.width < 400
    assert sent.width / sent.height == pytest.approx(4 / 3, rel=0.02)


def test_a_frame_that_never_fits_is_a_bad_frame() -> None:
    with pytest.raises(BadFrame, match="does not fit"):
        sent_image(Frame("a", 400, 300, pixels=NOISE), max_bytes=50)


def test_shapes_of_a_scaled_picture_come_back_in_the_frames_pixels() -> None:
    bits = np.zeros((30, 40), bool)
    bits[3:6, 4:8] = True
    cut = mask_of(bits)
    assert cut is not None
    points = np.array([[1, 1], [2, 1], [2, 3]], np.float32)
    geometry = (
        None,
        Polygon(points),
        Skeleton(points, np.ones(3, np.float32)),
        RotatedRectangle(5, 6, 4, 2, 30),
        cut[0],
    )
    boxes = np.array([[1, 2, 3, 4]] * 4 + [list(cut[1])], np.float32)
    found = Detections(("a",), boxes, np.ones(5), np.zeros(5, np.int32), geometry)
    frame = Frame("a", 400, 300, pixels=NOISE)
    back = scale_back(found, SentImage(b"", "image/jpeg", 40, 30), frame).inside(400, 300)
    assert back.boxes.tolist() == [[10, 20, 30, 40]] * 4 + [[40, 30, 80, 60]]
    polygon, skeleton, rotated, mask = back.geometry[1:]
    assert isinstance(polygon, Polygon)
    assert isinstance(skeleton, Skeleton)
    assert (polygon.points == points * 10).all()
    assert (skeleton.points == points * 10).all()
    assert rotated == RotatedRectangle(50, 60, 40, 20, 30)
    assert bits_of(mask).sum() == 40 * 30  # type: ignore[arg-type]


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_a_mask_comes_back_as_it_was_with_the_box_around_it(bits: np.ndarray) -> None:
    cut = mask_of(bits)
    if cut is None:
        assert not bits.any()
        return
    mask, (x1, y1, x2, y2) = cut
    assert (bits_of(mask) == bits).all()
    inside = np.zeros_like(bits)
    inside[int(y1) : int(y2), int(x1) : int(x2)] = True
    assert not (bits & ~inside).any()
    assert bits[:, int(x1)].any()
    assert bits[int(y2) - 1].any()
