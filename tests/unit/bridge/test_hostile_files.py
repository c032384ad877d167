"""Images and archives that want memory, time or a place on disk: each is refused with an answer, and cheaply."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters.errors import BadFrame
from adapters.frame import Frame, decode, read_info
from bridge.errors import BridgeError, InvalidRequest, Overloaded, TooLarge
from bridge.sources import archive
from bridge.sources.files import ImageLimits, collect

MEMORY = 64 * 2**20  # more than this is not asked for by what is refused


def picture(form: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(packed, form)
    return packed.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG whose header says so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def patched(form: str, at: int, size: str, side: int = 60_000) -> bytes:
    """A picture whose header is changed to ``side`` in both directions."""
    raw = bytearray(picture(form))
    raw[at : at + struct.calcsize(size)] = struct.pack(size, side, side)
    return bytes(raw)


HUGE: dict[str, Callable[[], bytes]] = {
    "png of 100,000 x 100,000": lambda: png(100_000, 100_000, zlib.compress(b"\0" * 1000)),
    "png of 2^31 - 1": lambda: png(2**31 - 1, 2**31 - 1),
    "png of one row of 2^31 - 1": lambda: png(2**31 - 1, 1),
    "gif of 65,535 x 65,535": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + b"\0" * 20,
    "bmp of 60,000 x 60,000": lambda: patched("BMP", 18, "<ii"),
    "ppm of 100,000 x 100,000": lambda: b"P6\n100000 100000\n255\n",
    "tga of 65,535 x 65,535": lambda: bytes([0, 0, 2, *[0] * 9]) + struct.pack("<HHBB", 65_535, 65_535, 24, 0),
}

NO_IMAGES: dict[str, bytes] = {
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "svg that asks for a file": b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
    "postscript, which starts a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 40,
    "html": b"<!doctype html><script>alert(1)</script>",
    "photoshop": b"8BPS\0\1" + b"\0" * 40,
    "fits": b"SIMPLE  =                    T" + b" " * 100,
    "nothing": b"",
    "zip": b"PK\x05\x06" + b"\0" * 18,
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_header_of_too_many_pixels_is_refused_without_its_memory(kind: str) -> None:
    data = HUGE[kind]()
    tracemalloc.start()
    try:
        with pytest.raises(BadFrame):
            decode("huge", data)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_picture_of_points_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadFrame):
        read_info("x", NO_IMAGES[kind])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(NO_IMAGES[kind])
    found = collect([tmp_path / "in"], extract_to=tmp_path / "out")
    assert [each.name for each in found.rejected] == ["a.png"]


def test_a_png_that_unpacks_to_more_than_it_says_is_bounded(tmp_path: Path) -> None:
    body = zlib.compress(b"\0" * (100 * 2**20), 9)
    tracemalloc.start()
    try:
        decode("bomb", png(64, 64, body))
    except BadFrame:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("form", ["GIF", "PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("other", [b"<script>alert(1)</script>", b"PK\x03\x04" + b"x" * 50, b"#!/bin/sh\nrm -rf /\n"])
def test_a_picture_that_is_something_else_as_well_is_the_picture(form: str, other: bytes) -> None:
    """What is behind the picture is never looked at."""
    frame = Frame.from_bytes("two", picture(form) + other)
    assert frame.pixels.shape == (6, 8, 3)


STARTS = (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"II*\0", b"BM")


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=300), st.sampled_from(STARTS))
def test_any_bytes_are_a_picture_or_a_bad_frame(body: bytes, start: bytes) -> None:
    try:
        assert decode("any", start + body).ndim == 3
    except BadFrame as refused:
        assert refused.message.startswith("any ")


def make_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in entries.items():
            out.writestr(name, data)
    return path


def tiny_files(path: Path, count: int) -> Path:
    """A zip that lists ``count`` entries, written in one go: all of them are the same few bytes."""
    name = b"%07d.png"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 11, 0) + name % 0
    entry = struct.Struct("<4s6H3I5H2I")
    directory = b"".join(
        entry.pack(b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0) + name % i for i in range(count)
    )
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(local))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(local + directory + zip64 + locator + end)
    return path


def test_a_million_tiny_files_are_refused_without_an_object_for_each(tmp_path: Path) -> None:
    packed = tiny_files(tmp_path / "many.zip", 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="holds more than"):
            collect([packed], extract_to=tmp_path / "out", limits=ImageLimits(max_files=10_000))
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_a_directory_of_long_names_is_refused_before_it_is_read(tmp_path: Path) -> None:
    packed = make_zip(tmp_path / "long.zip", {f"{i}{'x' * 60_000}.png": b"" for i in range(40)})
    with pytest.raises(TooLarge, match="holds more than"):
        collect([packed], extract_to=tmp_path / "out", limits=ImageLimits(max_files=10))


def test_as_many_files_as_are_allowed_are_taken_with_what_lies_beside_them(tmp_path: Path) -> None:
    files = {f"{i}.png": picture() for i in range(5)} | {f"{i}.txt": b"0 0 0 0" for i in range(5)}
    found = collect([make_zip(tmp_path / "a.zip", files)], extract_to=tmp_path / "out", limits=ImageLimits(max_files=5))
    assert (len(found.frames), found.skipped) == (5, 5)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_uncommon_ways_of_packing_are_not_unpacked(tmp_path: Path, method: int) -> None:
    """LZMA takes as much memory as the file asks for."""
    found = collect([make_zip(tmp_path / "a.zip", {"a.png": picture()}, method)], extract_to=tmp_path / "out")
    assert "plain zip" in found.rejected[0].reason


def test_a_zip_in_a_zip_stays_packed(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"deep.png": picture()}).read_bytes()
    outer = make_zip(tmp_path / "outer.zip", {"a.png": picture(), "inner.zip": inner, "inner.png": inner})
    found = collect([outer], extract_to=tmp_path / "out")
    assert [frame.name for frame in found.frames] == ["a.png"]
    assert [each.name for each in found.rejected] == ["inner.png"]
    assert found.skipped == 1


def test_entries_that_share_their_bytes_count_each_time(tmp_path: Path) -> None:
    """The bomb of overlapping entries: little on disk, very much unpacked."""
    packed = make_zip(tmp_path / "a.zip", {f"{i}.png": b"\0" * 10**6 for i in range(3)})
    raw = bytearray(packed.read_bytes())
    places = [i for i in range(len(raw)) if raw[i : i + 4] == b"PK\x01\x02"]
    for place in places:  # every entry of the directory points at the first file
        raw[place + 42 : place + 46] = struct.pack("<I", 0)
    packed.write_bytes(raw)
    with pytest.raises(TooLarge, match="unpacks to 3000000 bytes"):
        collect([packed], extract_to=tmp_path / "out", limits=ImageLimits(max_archive_bytes=2 * 10**6))


def test_a_zip_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = make_zip(tmp_path / "a.zip", {"a.png": picture()})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(Overloaded, match="the disk has 10 left") as refused:
        collect([packed], extract_to=tmp_path / "out")
    assert refused.value.code == "disk_full"


@settings(max_examples=60)
@given(st.data())
def test_a_zip_with_any_byte_changed_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(make_zip(tmp_path / "a.zip", {"a.png": picture(), "b/c.png": picture()}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    (tmp_path / "b.zip").write_bytes(raw[:cut] if data.draw(st.booleans()) else raw)
    out = tmp_path / "out"
    try:
        found = collect([tmp_path / "b.zip"], extract_to=out)
        assert all(Path(frame.path).is_relative_to(out) for frame in found.frames)
    except (InvalidRequest, TooLarge) as refused:
        assert isinstance(refused, BridgeError)
