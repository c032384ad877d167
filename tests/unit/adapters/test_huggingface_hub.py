"""Asking the hub and fetching from it, with the hub's own client against the loopback hub."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RevisionNotFoundError

from adapters.base import Context, DownloadProgress, ModelCard
from adapters.errors import (
    AccessDenied,
    BadOutput,
    ModelNotFound,
    PredictorError,
    RateLimited,
    Unavailable,
    Unsupported,
)
from adapters.huggingface_local import HuggingFaceLocal
from adapters.network import HttpPolicy
from adapters.references import HuggingFaceModel
from tests import models
from tests.hub import STRANGER, TOKEN, Fault, HubServer, Repository

REFERENCE = HuggingFaceModel("street/detector")
ONNX_FILE = "onnx/model.onnx"
STORAGE = HttpPolicy(frozenset({"localhost"}))  # the host that the hub redirects to for large files
PADDING = 300_000  # bytes that make the weights worth resuming


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    folder = models.write_onnx_model(tmp_path / "model")
    weights = models.detector()
    weights.doc_string = "x" * PADDING
    (folder / ONNX_FILE).write_bytes(weights.SerializeToString())
    repositories = {
        "street/detector": Repository(folder, branches=("main", "feature/x")),
        "street/old-name": Repository(folder, moved_to="street/detector"),
        "street/private": Repository(folder, private=True),
        "street/gated": Repository(folder, gated="manual"),
        "street/disabled": Repository(folder, disabled=True),
        "street/untagged": Repository(folder, pipeline_tag=None, licence=None),
        "gpt2": Repository(folder, pipeline_tag="text-generation"),
    }
    with HubServer(repositories) as server:
        yield server


def context(hub: HubServer, folder: Path, token: str | None = None, **options: object) -> Context:
    host = hub.url.removeprefix("http://")

    def secret(kind: str, asked_host: str) -> str | None:
        return token if (kind, asked_host) == ("huggingface", host) else None

    options.setdefault("http", STORAGE)
    return Context(folder / "cache", secret=secret, endpoints={"huggingface": hub.url}, **options)  # type: ignore[arg-type]


async def resolve(name: str, ctx: Context, revision: str | None = None) -> ModelCard:
    return await HuggingFaceLocal().resolve(HuggingFaceModel(name, revision), ctx)


def weights_path(card: ModelCard, ctx: Context) -> Path:
    (found,) = (ctx.cache_dir / "huggingface").rglob("model.onnx")
    assert card.revision in str(found)
    return found


async def test_a_card_holds_what_the_hub_says(hub: HubServer, tmp_path: Path) -> None:
    card = await resolve("street/detector", context(hub, tmp_path))
    repository = hub.repositories["street/detector"]
    assert card.name == "street/detector"
    assert card.reference == "hf://street/detector"
    assert card.revision == repository.commit
    assert card.labels == models.LABELS
    assert card.licence == "apache-2.0"
    assert card.weights_bytes == repository.files[ONNX_FILE].stat().st_size
    assert card.task_type == "object-detection"
    assert not card.gated


async def test_resolving_downloads_no_weights(hub: HubServer, tmp_path: Path) -> None:
    await resolve("street/detector", context(hub, tmp_path))
    assert hub.count("model.onnx") == 0


async def test_a_branch_with_a_slash_is_resolved(hub: HubServer, tmp_path: Path) -> None:
    card = await resolve("street/detector", context(hub, tmp_path), "feature/x")
    assert card.revision == hub.repositories["street/detector"].commit


async def test_without_a_pipeline_tag_the_architecture_tells_the_task_type(hub: HubServer, tmp_path: Path) -> None:
    card = await resolve("street/untagged", context(hub, tmp_path))
    assert (card.task_type, card.licence) == ("object-detection", None)


async def test_a_renamed_model_is_found_and_its_new_name_noted(hub: HubServer, tmp_path: Path) -> None:
    card = await resolve("street/old-name", context(hub, tmp_path))
    assert card.name == "street/detector"
    assert card.reference == "hf://street/detector"
    assert card.notes == ("street/old-name is now called street/detector.",)


async def test_a_token_opens_private_and_gated_models(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path, TOKEN)
    assert (await resolve("street/gated", ctx)).gated
    card = await resolve("street/private", ctx)
    await HuggingFaceLocal().fetch(card, ctx)
    assert all(not each.authorised for each in hub.seen if each.path.startswith("/cdn"))


@pytest.mark.parametrize(
    ("name", "revision", "token", "error", "words"),
    [
        ("street/absent", None, None, ModelNotFound, "does not exist or is private"),
        ("street/absent", None, STRANGER, ModelNotFound, "may not see it"),
        ("street/private", None, None, ModelNotFound, "does not exist or is private"),
        ("street/private", None, STRANGER, ModelNotFound, "may not see it"),
        ("street/gated", None, None, AccessDenied, "gated"),
        ("street/gated", None, STRANGER, AccessDenied, "gated"),
        ("street/disabled", None, None, AccessDenied, "disabled"),
        ("street/detector", None, "hf_thisTokenIsWrong", AccessDenied, "refuses the token"),
        ("street/detector", "v9", None, ModelNotFound, "no revision v9"),
        ("street/det ector", None, None, ModelNotFound, "does not exist"),
        ("gpt2", None, None, Unsupported, "text-generation"),
    ],
)
async def test_each_refusal_has_its_own_message(
    hub: HubServer, tmp_path: Path, name: str, revision: str | None, token: str | None, error: type, words: str
) -> None:
    with pytest.raises(PredictorError, match=words) as caught:
        await resolve(name, context(hub, tmp_path, token), revision)
    assert type(caught.value) is error
    assert "hf_" not in caught.value.message + caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("token", [None, STRANGER])
async def test_a_gated_model_says_where_its_terms_are(hub: HubServer, tmp_path: Path, token: str | None) -> None:
    with pytest.raises(AccessDenied) as caught:
        await resolve("street/gated", context(hub, tmp_path, token))
    assert f"{hub.url}/street/gated" in caught.value.hint
    assert ("connection add" in caught.value.hint) == (token is None)


async def test_too_many_requests_carry_the_time_to_wait(hub: HubServer, tmp_path: Path) -> None:
    hub.faults.append(Fault("/api/models", "429", times=99))
    with pytest.raises(RateLimited) as caught:
        await resolve("street/detector", context(hub, tmp_path))
    assert caught.value.retry_after == 7


async def test_a_hub_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    ctx = Context(tmp_path, endpoints={"huggingface": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 cannot be reached"):
        await resolve("street/detector", ctx)


async def test_offline_the_hub_is_not_asked(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="offline"):
        await resolve("street/detector", context(hub, tmp_path, offline=True))
    assert hub.seen == []


async def test_what_was_fetched_opens_offline(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    await HuggingFaceLocal().fetch(card, ctx)
    hub.seen.clear()
    async with await HuggingFaceLocal().open(card, context(hub, tmp_path, offline=True)) as predictor:
        # An opened model also says where it runs and how it is best fed: its limits, and the pace that was measured.
        assert predictor.card.settings["device"] == "cpu"
        settings = {
            key: value for key, value in predictor.card.settings.items() if key not in ("device", "precision", "pace")
        }
        assert replace(predictor.card, limits=card.limits, settings=settings) == card
    assert hub.seen == []


async def test_only_the_files_that_the_engine_needs_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    folder = hub.repositories["street/detector"].folder
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02N.")
    (folder / "onnx" / "model_quantized.onnx").write_bytes(b"other")
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    await HuggingFaceLocal().fetch(card, ctx)
    names = {path.name for path in (ctx.cache_dir / "huggingface").rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith(".lock")} == {
        "config.json",
        "preprocessor_config.json",
        "model.onnx",
    }


async def test_a_named_variant_is_fetched_with_the_weights_beside_it(hub: HubServer, tmp_path: Path) -> None:
    folder = hub.repositories["street/detector"].folder
    (folder / "onnx" / "model_fp16.onnx").write_bytes(b"graph")
    (folder / "onnx" / "model_fp16.onnx_data").write_bytes(b"weights")
    reference = HuggingFaceModel("street/detector", None, "onnx/model_fp16.onnx")
    card = await HuggingFaceLocal().resolve(reference, context(hub, tmp_path))
    assert card.settings["weights"] == "onnx/model_fp16.onnx"
    assert card.weights_bytes == len(b"graph") + len(b"weights")


async def test_a_repository_whose_graph_does_not_load_is_found_when_it_is_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    file = hub.repositories["street/detector"].folder / ONNX_FILE
    file.write_bytes(file.read_bytes()[:5_000])
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    with pytest.raises(Unsupported, match=r"cannot load model\.onnx"):
        await HuggingFaceLocal().fetch(card, ctx)


async def test_progress_ends_at_the_files_size(hub: HubServer, tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    ctx = context(hub, tmp_path, progress=seen.append)
    card = await resolve("street/detector", ctx)
    await HuggingFaceLocal().fetch(card, ctx)
    last = {each.file: each for each in seen}
    assert last[ONNX_FILE].done_bytes == last[ONNX_FILE].total_bytes == card.weights_bytes


async def test_a_cut_connection_is_resumed_where_it_broke(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    hub.faults.append(Fault("/cdn/", "cut", times=2))
    await HuggingFaceLocal().fetch(card, ctx)
    original = hub.repositories["street/detector"].files[ONNX_FILE].read_bytes()
    assert weights_path(card, ctx).read_bytes() == original
    ranges = [each.range for each in hub.seen if each.path.startswith("/cdn")]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(each for each in ranges[1:])


async def test_what_another_call_left_is_resumed_and_never_looks_whole(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    hub.faults += [Fault("/cdn/", "cut", times=1), Fault("/cdn/", "500", times=20)]
    with pytest.raises(Unavailable):
        await HuggingFaceLocal().fetch(card, ctx)
    assert not list(ctx.cache_dir.rglob("model.onnx"))
    hub.faults.clear()
    hub.seen.clear()
    await HuggingFaceLocal().fetch(card, ctx)
    (again,) = [each for each in hub.seen if each.path.startswith("/cdn")]
    assert again.range is not None
    assert not again.range.startswith("bytes=0-")
    assert weights_path(card, ctx).stat().st_size == card.weights_bytes


@pytest.mark.parametrize("file", [ONNX_FILE, "preprocessor_config.json"])
async def test_content_that_is_not_what_the_hub_named_is_refused(hub: HubServer, tmp_path: Path, file: str) -> None:
    """Large files are checked by SHA-256, small ones by the name that git gives their content."""
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    partial = ctx.cache_dir / "huggingface" / "street--detector" / card.revision / f"{file}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"?")
    with pytest.raises(BadOutput, match="not what the hub named"):
        await HuggingFaceLocal().fetch(card, ctx)
    assert not partial.exists()
    await HuggingFaceLocal().fetch(card, ctx)


async def test_a_cancelled_download_stops_and_is_resumed(hub: HubServer, tmp_path: Path) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def progress(seen: DownloadProgress) -> None:
        if seen.file == ONNX_FILE:
            loop.call_soon_threadsafe(started.set)

    ctx = context(hub, tmp_path, progress=progress)
    card = await resolve("street/detector", ctx)
    hub.faults.append(Fault("/cdn/", "cut", times=99))
    call = asyncio.create_task(HuggingFaceLocal().fetch(card, ctx))
    await asyncio.wait_for(started.wait(), 120)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    hub.faults.clear()
    await HuggingFaceLocal().fetch(card, ctx)
    assert weights_path(card, ctx).stat().st_size == card.weights_bytes


async def test_two_fetches_at_once_make_one_download(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path)
    card = await resolve("street/detector", ctx)
    await asyncio.gather(HuggingFaceLocal().fetch(card, ctx), HuggingFaceLocal().fetch(card, ctx))
    assert hub.count("/cdn/") == 1


async def test_a_hub_that_lists_files_outside_the_folder_is_refused(hub: HubServer, tmp_path: Path) -> None:
    class Hostile(Repository):
        @property
        def files(self) -> dict[str, Path]:
            return super().files | {"../../escaped.onnx": self.folder / "config.json"}

    hub.repositories["street/hostile"] = Hostile(hub.repositories["street/detector"].folder)
    with pytest.raises(BadOutput, match="outside"):
        await resolve("street/hostile", context(hub, tmp_path))


def test_the_loopback_hub_satisfies_the_hubs_own_client(hub: HubServer, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    files = hub.repositories["street/detector"].files
    assert len(files) >= 3
    assert set(api.list_repo_files("street/detector")) == set(files)
    folder = snapshot_download("street/detector", endpoint=hub.url, token=False, cache_dir=tmp_path / "theirs")
    assert (Path(folder) / ONNX_FILE).read_bytes() == files[ONNX_FILE].read_bytes()
    with pytest.raises(DisabledRepoError):
        api.model_info("street/disabled")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("street/detector", revision="v9")
    with pytest.raises(GatedRepoError):
        snapshot_download("street/gated", endpoint=hub.url, token=False, cache_dir=tmp_path / "theirs")


async def test_a_redirect_to_a_private_address_is_not_followed(hub: HubServer, tmp_path: Path) -> None:
    ctx = context(hub, tmp_path, token=TOKEN, http=HttpPolicy())
    card = await resolve("street/detector", ctx)
    with pytest.raises(AccessDenied, match="localhost") as refused:
        await HuggingFaceLocal().fetch(card, ctx)
    assert "allowed_hosts" in refused.value.hint
    assert hub.count("/cdn/") == 0


async def test_a_configuration_without_an_end_is_given_up(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.huggingface_hub_client._MOST_TEXT", 100)
    with pytest.raises(BadOutput, match=r"config\.json"):
        await resolve("street/detector", context(hub, tmp_path))
