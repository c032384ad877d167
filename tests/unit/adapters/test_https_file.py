"""Model files on a web server: what is fetched, resumed, pinned and refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Context, DownloadProgress, PredictOptions
from adapters.errors import (
    AccessDenied,
    BadOutput,
    ModelNotFound,
    PredictorError,
    PredictTimeout,
    RateLimited,
    Unavailable,
    Unsupported,
)
from adapters.frame import Frame
from adapters.https_file import FIRST_SEEN, HttpsFiles
from adapters.network import HttpPolicy
from adapters.references import HttpsFile
from adapters.web_download import WebFile, download
from tests import models
from tests.servers.files import FileServer, Served

CONTENT = b"\x08\x08" + bytes(range(256)) * 12_000  # starts as ONNX does; 3 MB
SHA = hashlib.sha256(CONTENT).hexdigest()
KEY = "c4n4ry-token"
HERE = HttpPolicy(frozenset({"127.0.0.1"}))
BOTH = HttpPolicy(frozenset({"127.0.0.1", "localhost"}))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/m.onnx": Served(CONTENT)}) as new:
        yield new


async def fetch(server: FileServer, target: Path, path: str = "/m.onnx", **values: object) -> list[DownloadProgress]:
    seen: list[DownloadProgress] = []
    options = {"sha256": SHA, "key": None, "policy": HERE, "most_bytes": 10**7} | values
    file = WebFile(server.url + path, str(options["sha256"]), options["key"])  # type: ignore[arg-type]
    server.files["/m.onnx"].taken = lambda: seen[-1].done_bytes if seen else 0
    await download(file, target, options["policy"], seen.append, most_bytes=options["most_bytes"])  # type: ignore[arg-type]
    assert target.read_bytes() == CONTENT
    assert not target.with_name(target.name + ".partial").exists()
    return seen


async def test_a_file_comes_whole_and_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    seen = await fetch(server, tmp_path / "deep" / "m.onnx")
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    asked = len(server.seen)
    await fetch(server, tmp_path / "deep" / "m.onnx")
    assert len(server.seen) == asked


async def test_what_was_cut_is_resumed_and_not_begun_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["/m.onnx"].cut_at = [1_200_000, 2_200_000]
    await fetch(server, tmp_path / "m.onnx")
    starts = [int(each.headers.get("Range", "bytes=0-")[6:-1]) for each in server.seen]
    assert starts == [0, 1_200_000, 2_200_000]


async def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.partial").write_bytes(CONTENT[:1000])
    await fetch(server, tmp_path / "m.onnx")
    assert [each.headers.get("Range") for each in server.seen] == ["bytes=1000-"]


async def test_a_server_without_ranges_is_begun_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["/m.onnx"].ranges = False
    server.files["/m.onnx"].cut_at = [300_000]
    await fetch(server, tmp_path / "m.onnx")
    assert len(server.seen) == 2


async def test_a_server_that_is_cut_for_ever_is_given_up_and_what_came_is_kept(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.web_download._TRIES", 2)
    server.files["/m.onnx"].cut_at = [2_000_000, 0, 0, 0, 0]
    with pytest.raises(Unavailable, match="broke off"):
        await fetch(server, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.partial").stat().st_size == 2_000_000
    server.files["/m.onnx"].cut_at = []
    await fetch(server, tmp_path / "m.onnx")


async def test_a_partial_file_that_is_longer_than_the_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "m.onnx.partial").write_bytes(CONTENT + b"more")
    await fetch(server, tmp_path / "m.onnx")


async def test_another_file_than_the_digest_says_is_refused_and_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["/m.onnx"].content = CONTENT[:-1] + b"x"
    with pytest.raises(BadOutput, match=hashlib.sha256(server.files["/m.onnx"].content).hexdigest()):
        await fetch(server, tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("told", [True, False])
async def test_a_file_that_is_too_large_is_refused(server: FileServer, tmp_path: Path, told: bool) -> None:
    server.files["/m.onnx"].length = told
    with pytest.raises(Unsupported, match="larger"):
        await fetch(server, tmp_path / "m.onnx", most_bytes=100_000)


@pytest.mark.parametrize(
    ("head", "error", "words"),
    [
        (b"\x80\x04\x95", Unsupported, "pickle"),
        (b"PK\x03\x04archive/data.pkl", Unsupported, "pickle"),
        (b"\x89HDF\r\n\x1a\n", Unsupported, "Keras"),
        (b"  <html>sign in</html>", BadOutput, "page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", BadOutput, "note"),
        (b'{"message": "Not Found"}', BadOutput, "note"),
        (b"", BadOutput, "note"),
    ],
)
async def test_what_is_no_onnx_file_is_known_by_its_first_bytes(
    server: FileServer, tmp_path: Path, head: bytes, error: type[PredictorError], words: str
) -> None:
    server.files["/m.onnx"].content = head + (CONTENT if head else b"")
    with pytest.raises(error, match=words):
        await fetch(server, tmp_path / "m.onnx", sha256="", most_bytes=10**8)
    assert not (tmp_path / "m.onnx").exists()
    assert not (tmp_path / "m.onnx.partial").exists()


async def test_a_redirect_is_followed_where_it_may_lead_and_carries_no_key(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="localhost"):
        await fetch(server, tmp_path / "m.onnx", "/moved/m.onnx", key=KEY)
    await fetch(server, tmp_path / "m.onnx", "/moved/m.onnx", key=KEY, policy=BOTH)
    last, first = server.seen[-1], server.seen[-2]
    assert (first.path, first.headers["Authorization"]) == ("/moved/m.onnx", f"Bearer {KEY}")
    assert last.path == "/m.onnx"
    assert "Authorization" not in last.headers


async def test_redirects_without_end_are_given_up(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(PredictorError, match="redirects"):
        await fetch(server, tmp_path / "m.onnx", "/round/m.onnx")
    assert len(server.seen) < 10


@pytest.mark.parametrize(
    "leads",
    ["https://[::1/m", "https://[bad]/m", "https://a:99999/m", "https://a:b/m", f"https://{'a' * 64}/m", "//a..b/m"],
)
async def test_a_redirect_to_what_is_no_address_is_refused(server: FileServer, tmp_path: Path, leads: str) -> None:
    server.leads = leads
    with pytest.raises(PredictorError, match="no address"):
        await fetch(server, tmp_path / "m.onnx", "/moved/")


async def test_a_file_that_drips_is_not_waited_for_and_goes_on_later(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection brings a little and ends: every one is progress, and together they would never end."""
    monkeypatch.setattr("adapters.web_download._PATIENCE_S", 0.5)
    monkeypatch.setattr("adapters.web_download._LEAST_BYTES_PER_S", 1e9)
    server.files["/m.onnx"].cut_at = [100 + 10 * each for each in range(1000)]
    with pytest.raises(PredictTimeout, match="bytes a second"):
        await fetch(server, tmp_path / "m.onnx")
    server.files["/m.onnx"].cut_at = []
    monkeypatch.setattr("adapters.web_download._PATIENCE_S", 120.0)
    await fetch(server, tmp_path / "m.onnx")
    assert int(server.seen[-1].headers["Range"][6:-1]) > 0


async def test_a_login_is_sent_as_such(server: FileServer, tmp_path: Path) -> None:
    server.key = "Basic bWU6c2VjcmV0"
    with pytest.raises(AccessDenied, match="refuses"):
        await fetch(server, tmp_path / "m.onnx", key="me:wrong")
    await fetch(server, tmp_path / "m.onnx", key="me:secret")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", AccessDenied),
        ("403", AccessDenied),
        ("404", ModelNotFound),
        ("429", RateLimited),
        ("500", Unavailable),
        ("418", PredictorError),
    ],
)
async def test_refusals_are_told_apart(
    server: FileServer, tmp_path: Path, fault: str, error: type[PredictorError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.web_download._TRIES", 1)
    server.fail(fault)
    with pytest.raises(error) as caught:
        await fetch(server, tmp_path / "m.onnx")
    assert type(caught.value) is error
    assert getattr(caught.value, "retry_after", 7) in (7, None)


async def test_two_that_want_the_same_file_fetch_it_once(server: FileServer, tmp_path: Path) -> None:
    await asyncio.gather(*(fetch(server, tmp_path / "m.onnx") for _ in range(4)))
    assert len(server.seen) == 1


def frame() -> Frame:
    pixels = np.random.default_rng(3).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    return Frame("a", 80, 60, pixels=pixels)


async def test_a_file_that_nobody_pinned_is_pinned_by_the_first_download(tmp_path: Path) -> None:
    content = models.write_yolo(tmp_path / "street.onnx").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with FileServer({"/street.onnx": Served(content)}) as server:
        context = Context(tmp_path / "cache", http=HERE)
        card = await HttpsFiles().resolve(HttpsFile(f"{server.url}/street.onnx", ""), context)
        assert card.reference == f"{server.url}/street.onnx#sha256={digest}"
        assert card.notes[0] == FIRST_SEEN
        assert await HttpsFiles().resolve(HttpsFile(f"{server.url}/street.onnx", ""), context) == card
        server.files["/street.onnx"].content = content + b"\0"
        asked = len(server.seen)
        async with await HttpsFiles().open(card, replace(context, offline=True)) as predictor:
            (found,) = await predictor.predict([frame()], PredictOptions(floor_score=0))
            assert len(found)
        assert len(server.seen) == asked
        with pytest.raises(BadOutput, match="is not the file"):
            await HttpsFiles().open(card, replace(context, cache_dir=tmp_path / "elsewhere"))


async def test_several_that_pin_one_file_at_once_keep_it_once(tmp_path: Path) -> None:
    content = models.write_yolo(tmp_path / "street.onnx").read_bytes()
    with FileServer({"/street.onnx": Served(content)}) as server:
        context = Context(tmp_path / "cache", http=HERE)
        reference = HttpsFile(f"{server.url}/street.onnx", "")
        cards = await asyncio.gather(*(HttpsFiles().resolve(reference, context) for _ in range(4)))
    assert {card.reference for card in cards} == {f"{reference.url}#sha256={hashlib.sha256(content).hexdigest()}"}


async def test_what_the_file_does_not_say_stands_in_the_address(tmp_path: Path) -> None:
    content = models.write_yolo(tmp_path / "bare.onnx", metadata=False).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    labels = ",".join(f"thing {i}" for i in range(len(models.LABELS)))
    with FileServer({"/bare.onnx": Served(content)}) as server:
        context = Context(tmp_path / "cache", http=HERE)
        said = (("layout", "yolo-v8-detect"), ("labels", labels), ("threshold", "0.4"), ("name", "Things"))
        card = await HttpsFiles().resolve(HttpsFile(f"{server.url}/bare.onnx", digest, "", said), context)
        assert card.labels is not None
        assert card.labels[0] == "thing 0"
        assert (card.name, card.default_threshold) == ("Things", 0.4)
        other = await HttpsFiles().resolve(HttpsFile(f"{server.url}/bare.onnx", digest, "", said[:2]), context)
        assert other.revision != card.revision
        async with await HttpsFiles().open(card, context) as predictor:
            (found,) = await predictor.predict([frame()], PredictOptions(floor_score=0))
            assert found.labels == card.labels


async def test_an_openvino_model_comes_in_two_files_that_are_both_pinned(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    source = models.write_yolo(tmp_path / "street.onnx")
    said = (("layout", "yolo-v8-detect"), ("labels", ",".join(models.LABELS)))
    openvino.save_model(openvino.Core().read_model(source), tmp_path / "street.xml", compress_to_fp16=False)
    parts = {name: (tmp_path / name).read_bytes() for name in ("street.xml", "street.bin")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    with FileServer({f"/{name}": Served(content) for name, content in parts.items()}) as server:
        context = Context(tmp_path / "cache", http=HERE)
        pinned = HttpsFile(f"{server.url}/street.xml", digests["street.xml"], digests["street.bin"], said)
        card = await HttpsFiles().resolve(pinned, context)
        assert card.engine == "openvino"
        first = await HttpsFiles().resolve(HttpsFile(f"{server.url}/street.xml", "", "", said), context)
        assert (first.reference, first.notes[0]) == (pinned.canonical, FIRST_SEEN)
        async with await HttpsFiles().open(card, context) as predictor:
            (found,) = await predictor.predict([frame()], PredictOptions(floor_score=0))
            assert len(found)
        server.files["/street.bin"].content = b"\x80" + parts["street.bin"][1:]
        with pytest.raises(BadOutput, match=r"street\.bin"):
            await HttpsFiles().resolve(pinned, replace(context, cache_dir=tmp_path / "elsewhere"))


async def test_offline_nothing_is_fetched(tmp_path: Path) -> None:
    context = Context(tmp_path / "cache", offline=True)
    with pytest.raises(Unavailable, match="offline"):
        await HttpsFiles().resolve(HttpsFile("https://example.com/m.onnx", SHA), context)
