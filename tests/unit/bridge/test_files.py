import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bridge.errors import InvalidRequest, TooLarge
from bridge.sources.files import Collected, ImageLimits, VideoRange, collect
from bridge.sources.names import UniqueNames, natural_key, printable


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image_format: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    picture().save(out, image_format, **options)
    return out.getvalue()


def names(collected: Collected) -> list[str]:
    return [frame.name for frame in collected.frames]


def rejected(collected: Collected) -> dict[str, str]:
    return {bad.name: bad.reason for bad in collected.rejected}


def make_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, body in entries.items():
            out.writestr(name, body)
    return path


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (VideoRange(step=3), [0, 3, 6, 9, 12]),
        (VideoRange(1, 8, 3), [1, 4, 7]),
        (VideoRange(11), [11, 12]),
    ],
)
def test_a_range_takes_images_in_their_order_across_all_that_was_given(
    tmp_path: Path, wanted: VideoRange, left: list[int]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(11):
        (folder / f"img{number}.jpg").write_bytes(encoded())
    packed = make_zip(tmp_path / "more.zip", {"img11.jpg": encoded(), "img12.jpg": encoded()})
    found = collect([folder, packed], extract_to=tmp_path / "out", video=wanted)
    assert names(found) == [f"img{number}.jpg" for number in left]
    with pytest.raises(InvalidRequest, match="is in the range; their number is 13"):
        collect([folder, packed], extract_to=tmp_path / "out", video=VideoRange(13))


def test_a_mixed_folder_gives_its_good_images_and_names_its_bad_ones(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 10):
        (folder / f"img{number}.jpg").write_bytes(encoded())
    (folder / "text.jpg").write_text("not an image")
    (folder / "cut.jpg").write_bytes(encoded()[:-400])
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(folder / "grey16.png")
    picture("CMYK").save(folder / "cmyk.jpg")
    picture("P").save(folder / "moving.gif", save_all=True, append_images=[picture("P").rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(folder / "turned.jpg", exif=exif)
    (folder / "notes.txt").write_text("x")
    (folder / "truth.json").write_text("{}")
    (folder / ".hidden.jpg").write_bytes(encoded())

    result = collect([folder], extract_to=tmp_path / "out")

    assert names(result) == [
        "cmyk.jpg", "grey16.png", "img1.jpg", "img2.jpg", "img10.jpg", "moving.gif", "turned.jpg",
    ]  # fmt: skip
    sizes = {frame.name: (frame.width, frame.height) for frame in result.frames}
    assert sizes.pop("turned.jpg") == (30, 40)
    assert set(sizes.values()) == {(40, 30)}
    assert set(rejected(result)) == {"text.jpg", "cut.jpg", "empty.png"}
    assert rejected(result)["text.jpg"] == "text.jpg is not an image."
    assert rejected(result)["empty.png"] == "empty.png is empty."
    assert "cut.jpg is damaged" in rejected(result)["cut.jpg"]
    assert result.skipped == 2
    assert all(Path(frame.path).is_absolute() for frame in result.frames)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("image_format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp")]
)
def test_a_file_that_is_cut_short_is_named_and_a_whole_one_is_not(
    tmp_path: Path, image_format: str, suffix: str
) -> None:
    whole = encoded(image_format)
    (tmp_path / f"whole.{suffix}").write_bytes(whole)
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    result = collect([tmp_path], extract_to=tmp_path)
    assert names(result) == [f"whole.{suffix}"]
    assert set(rejected(result)) == {f"cut.{suffix}"}


def test_a_jpeg_with_much_data_after_its_end_is_a_good_image(tmp_path: Path) -> None:
    (tmp_path / "motion.jpg").write_bytes(encoded() + b"\0" * 100_000)
    assert names(collect([tmp_path], extract_to=tmp_path)) == ["motion.jpg"]


def test_frames_of_a_folder_are_named_by_their_path_below_it_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/1.png", "z.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded("PNG"))
    assert names(collect([tmp_path], extract_to=tmp_path)) == ["a/1.png", "b/2.png", "b/10.png", "z.png"]


def test_equal_names_of_two_folders_get_the_folder_and_then_a_number(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c" / "b"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(encoded("PNG"))
    assert names(collect(folders, extract_to=tmp_path)) == ["1.png", "b/1.png", "b/1-2.png"]


def test_a_file_given_twice_is_one_frame(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded("PNG"))
    assert names(collect([tmp_path, tmp_path / "1.png"], extract_to=tmp_path)) == ["1.png"]


def test_a_single_file_is_tried_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(encoded("PNG"))
    (tmp_path / "readme.txt").write_text("hello")
    result = collect([tmp_path / "upload", tmp_path / "readme.txt"], extract_to=tmp_path)
    assert names(result) == ["upload"]
    assert rejected(result) == {"readme.txt": "readme.txt is not an image."}


def test_a_missing_path_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no file or folder .*nowhere"):
        collect([tmp_path / "nowhere"], extract_to=tmp_path)


def test_pipes_and_dead_links_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "gone")
    result = collect([tmp_path], extract_to=tmp_path)
    assert rejected(result) == {
        "dead.jpg": "dead.jpg is a link to nothing.",
        "pipe.jpg": "pipe.jpg is not a regular file.",
    }


def test_a_name_that_is_no_utf8_is_named_and_not_stored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded("PNG"))
    result = collect([tmp_path], extract_to=tmp_path)
    assert rejected(result) == {"caf_.png": "caf_.png has a path that is not UTF-8; rename it."}


def test_heic_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert "convert it to JPEG" in rejected(collect([tmp_path], extract_to=tmp_path))["photo.heic"]


def test_too_many_or_too_large_files_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded("PNG"))
    with pytest.raises(TooLarge, match="More than 2 images"):
        collect([tmp_path], extract_to=tmp_path, limits=ImageLimits(max_files=2))
    result = collect([tmp_path], extract_to=tmp_path, limits=ImageLimits(max_file_bytes=10))
    assert not result.frames
    assert "0.png is too large" in rejected(result)["0.png"]


def test_frames_of_a_zip_are_named_by_their_path_in_it_and_stay_on_disk(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "in.zip",
        {
            "d/10.png": encoded("PNG"),
            "d/9.png": encoded("PNG"),
            "bad.jpg": b"x",
            "more.zip": b"x",
            "__MACOSX/._a.png": b"x",
        },
    )
    result = collect([archive], extract_to=tmp_path / "out")
    assert names(result) == ["d/9.png", "d/10.png"]
    assert set(rejected(result)) == {"bad.jpg"}
    assert result.skipped == 1
    for frame in result.frames:
        assert Path(frame.path).is_relative_to(tmp_path / "out")
        assert Path(frame.path).read_bytes() == encoded("PNG")


def test_two_zips_with_equal_names_do_not_overwrite_each_other(tmp_path: Path) -> None:
    zips = [make_zip(tmp_path / f"{name}.zip", {"1.png": encoded("PNG")}) for name in "ab"]
    result = collect(zips, extract_to=tmp_path / "out")
    assert names(result) == ["1.png", "b/1.png"]
    assert len({frame.path for frame in result.frames}) == 2


def test_entries_that_lead_outside_the_archive_are_named_and_not_written(tmp_path: Path) -> None:
    body = encoded("PNG")
    evil = ["../up.png", "a/../../up.png", "/abs.png", "..\\back.png", "C:/drive.png"]
    archive = make_zip(tmp_path / "in.zip", dict.fromkeys([*evil, "ok.png"], body))
    result = collect([archive], extract_to=tmp_path / "deep" / "out")
    assert names(result) == ["ok.png"]
    assert len(result.rejected) == 5
    assert all("leads outside its archive" in bad.reason for bad in result.rejected)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["000005.png"]


def test_links_and_encrypted_entries_in_a_zip_are_named(tmp_path: Path) -> None:
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as out:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(link, "/etc/passwd")
        out.writestr("locked.png", encoded("PNG"))
    raw = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = raw.rfind(signature) + offset
        raw[at : at + 2] = struct.pack("<H", 1)
    archive.write_bytes(raw)
    result = collect([archive], extract_to=tmp_path / "out")
    assert rejected(result) == {"link.png": "link.png is a symbolic link.", "locked.png": "locked.png is encrypted."}


def test_a_zip_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "bomb.zip", {f"{i}.png": b"\0" * 200_000 for i in range(5)})
    limits = ImageLimits(max_archive_bytes=500_000)
    with pytest.raises(TooLarge, match=r"bomb\.zip unpacks to 1000000 bytes"):
        collect([archive], extract_to=tmp_path / "out", limits=limits)
    assert not list((tmp_path / "out").rglob("*.png"))
    with pytest.raises(TooLarge, match="holds 5 images"):
        collect([archive], extract_to=tmp_path / "out", limits=ImageLimits(max_files=4))
    result = collect([archive], extract_to=tmp_path / "out", limits=ImageLimits(max_file_bytes=1000))
    assert len(result.rejected) == 5


def test_a_zip_that_understates_its_sizes_writes_no_more_than_it_said(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "liar.zip", {"a.png": b"\0" * 1_000_000})
    raw = archive.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 100))
    archive.write_bytes(raw)
    result = collect([archive], extract_to=tmp_path / "out")
    assert not result.frames
    assert set(rejected(result)) == {"a.png"}
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_damaged_entry_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        out.writestr("a.png", encoded("PNG"))
        out.writestr("b.png", encoded("PNG", compress_level=1))
    raw = archive.read_bytes()
    at = raw.index(b"IDAT") + 20
    archive.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
    result = collect([archive], extract_to=tmp_path / "out")
    assert names(result) == ["b.png"]
    assert "cannot be unpacked" in rejected(result)["a.png"]


def test_a_file_that_only_claims_to_be_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.zip").write_text("PK not really")
    with pytest.raises(InvalidRequest, match=r"in\.zip is not a readable zip"):
        collect([tmp_path / "in.zip"], extract_to=tmp_path / "out")


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8)))
def test_natural_order_compares_any_names(some: list[str]) -> None:
    assert len(sorted(some, key=natural_key)) == len(some)


@given(st.lists(st.sampled_from(["a.jpg", "b/a.jpg", "a-2.jpg", "b/a-2.jpg"]), max_size=30))
def test_claimed_names_are_unique(some: list[str]) -> None:
    unique = UniqueNames()
    claimed = [unique.claim(name, "b") for name in some]
    assert len(set(claimed)) == len(some)


def test_many_files_of_one_name_are_numbered_without_trying_every_number_again() -> None:
    class Counting(set[str]):
        looked_up = 0

        def __contains__(self, name: object) -> bool:
            Counting.looked_up += 1
            return super().__contains__(name)

    unique = UniqueNames()
    unique._taken = Counting()
    claimed = [unique.claim("1.jpg", "folder") for _ in range(1000)]
    assert claimed[:3] == ["1.jpg", "folder/1.jpg", "folder/1-2.jpg"]
    assert claimed[-1] == "folder/1-999.jpg"
    assert Counting.looked_up < 5000


@given(st.text())
def test_printable_names_can_be_stored_and_printed(name: str) -> None:
    assert printable(name).isprintable()
    printable(name).encode()


def test_images_of_more_pixels_than_allowed_are_named_and_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "large.png")
    Image.new("RGB", (20, 10)).save(tmp_path / "small.png")
    found = collect([tmp_path], extract_to=tmp_path / "unpacked", limits=ImageLimits(max_pixels=1000))
    assert [frame.name for frame in found.frames] == ["small.png"]
    assert [entry.reason for entry in found.rejected] == ["large.png is too large: 40 x 30 pixels."]
