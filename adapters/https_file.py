"""A model file on a web server: fetched once, pinned by its SHA-256, and then run as the file that it is.

Nobody but the file says what it is, so that resolving downloads it, into the cache. Its folder there is named by all
that pins it, so the same file with other hints is another model.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import filelock

from adapters.base import Context, ModelCard, Predictor
from adapters.errors import MustDownload, Unavailable
from adapters.onnx_file import OnnxFile
from adapters.references import HttpsFile, LocalFile
from adapters.references.file_hints import beside_of
from adapters.web_download import WebFile, download

FIRST_SEEN = "The file's digest was taken at this first download and pins it from here on; nobody else vouches for it."


class HttpsFiles:
    """The Adapter of ``HttpsFile``."""

    async def resolve(self, reference: HttpsFile, context: Context) -> ModelCard:
        """Downloads the file; its labels stand nowhere else. Without a digest, the first download's counts.

        Raises MustDownload where the context forbids that.
        """
        if not context.may_download:
            raise MustDownload(
                "What a file on the web is, is known only once it is here.", hint="Register it, which downloads it."
            )
        pinned = reference if reference.is_pinned else await _pin(reference, context)
        here = await _present(pinned, context)
        card = await OnnxFile().resolve(LocalFile(str(here)), context)
        return replace(
            card,
            provider="https",
            reference=pinned.canonical,
            settings={
                **card.settings,
                "file": pinned.name,
                "url": pinned.url,
                "sha256": pinned.sha256,
                "bin_sha256": pinned.bin_sha256,
                "said": dict(pinned.said),
            },
            notes=card.notes if reference.is_pinned else (FIRST_SEEN, *card.notes),
        )

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Raises BadOutput where the server has another file by now."""
        await _present(_of(card), context)

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        here = await _present(_of(card), context)
        predictor = await OnnxFile().open(replace(card, settings={**card.settings, "file": str(here)}), context)
        # Where the cache lies is no part of what the model is.
        predictor.card = replace(predictor.card, settings={**predictor.card.settings, "file": card.settings["file"]})
        return predictor


def _of(card: ModelCard) -> HttpsFile:
    settings = card.settings
    return HttpsFile(settings["url"], settings["sha256"], settings["bin_sha256"], tuple(settings["said"].items()))


async def _present(pinned: HttpsFile, context: Context) -> Path:
    """The file in the cache, with what was said of it beside it. Asks nobody where all of it is there."""
    folder = context.cache_dir / "https" / hashlib.sha256(pinned.canonical.encode()).hexdigest()[:32]
    await _fetch(pinned, folder, context)
    here = folder / pinned.name
    await asyncio.to_thread(_write_beside, here.with_suffix(".json"), beside_of(pinned.said))
    return here


async def _pin(reference: HttpsFile, context: Context) -> HttpsFile:
    """The reference with the digests of what its host has now; the files are kept for ``_present``."""
    folder = context.cache_dir / "https" / ("unpinned-" + hashlib.sha256(reference.url.encode()).hexdigest()[:32])
    await asyncio.to_thread(folder.parent.mkdir, parents=True, exist_ok=True)
    async with filelock.AsyncFileLock(f"{folder}.lock"):  # others who pin it would find the folder renamed
        digests = await _fetch(reference, folder, context)
        pinned = replace(reference, sha256=digests[0], bin_sha256="".join(digests[1:]))
        kept = context.cache_dir / "https" / hashlib.sha256(pinned.canonical.encode()).hexdigest()[:32]
        if await asyncio.to_thread(kept.exists):
            await asyncio.to_thread(_remove, folder, [name for name, _, _ in _parts(reference)])
        else:
            await asyncio.to_thread(folder.rename, kept)
    return pinned


def _parts(reference: HttpsFile) -> list[tuple[str, str, str]]:
    """Name, address and digest of every file: an OpenVINO model has its weights in a second one."""
    parts = [(reference.name, reference.url, reference.sha256)]
    if reference.weights_url:
        parts.append((Path(reference.name).with_suffix(".bin").name, reference.weights_url, reference.bin_sha256))
    return parts


async def _fetch(reference: HttpsFile, folder: Path, context: Context) -> Sequence[str]:
    """The digests of the files, which are all in ``folder`` afterwards."""
    parts = _parts(reference)
    if context.offline and not await asyncio.to_thread(lambda: all((folder / name).exists() for name, _, _ in parts)):
        raise Unavailable(
            f"{reference.name} is not fetched in offline mode.", hint="Use a model that has been downloaded before."
        )
    key = context.secret("https", WebFile(reference.url, "").host)
    return [
        await download(
            WebFile(url, digest, key), folder / name, context.http, context.progress, most_bytes=context.max_bytes
        )
        for name, url, digest in parts
    ]


def _write_beside(place: Path, said: dict[str, object]) -> None:
    if said:
        place.write_text(json.dumps(said, sort_keys=True), "utf-8")


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
