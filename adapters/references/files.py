"""Folders and files: here, and model files on a web server."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote, urlsplit

from adapters.references.file_hints import said_in
from adapters.references.huggingface import OTHER_WEIGHTS, PICKLED, RUNNABLE
from adapters.references.kinds import UNKNOWN, HttpsFile, LocalFile, LocalFolder
from adapters.references.pasted import Pasted, checked, refusal

PATH_STARTS = ("/", "./", "../", "~")
PASTE_PATH = "Give a folder in Hugging Face layout (config.json, model.safetensors or ONNX), an .onnx file, or an .xml."
PASTE_FILE = (
    "Paste https://HOST/PATH/model.onnx#sha256=DIGEST; `sha256sum model.onnx` prints the digest. "
    "#sha256=unknown takes what the host has now, and pins that."
)
_PINNED = re.compile(
    rf"sha256[=:-](?P<file>[0-9a-f]{{64}}|{UNKNOWN})(?:&bin_sha256[=:-](?P<bin>[0-9a-f]{{64}}))?(?:&(?P<more>.*))?",
    re.IGNORECASE,
)
# What some hosts need to send the file itself. Every other parameter may be a key, and is refused.
_HARMLESS = {"download": {"", "1", "true"}, "raw": {"", "1", "true"}, "dl": {"1"}}


def is_path(text: str) -> bool:
    """A path says so by how it starts: ``org/name`` is a model of the hub even where such a folder exists."""
    return text.startswith(PATH_STARTS) or text in {".", ".."}


def from_path(text: str) -> LocalFolder | LocalFile:
    """A path as it was written, without doubled slashes, ``/./`` and a slash at the end. Nothing is looked up."""
    path = "/".join(part for part in text.split("/") if part not in {"", "."})
    if text.startswith("/"):
        path = f"/{path}"
    elif not text.startswith("~") and path != ".." and not path.startswith("../"):
        path = f"./{path}"
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in RUNNABLE:
        return LocalFile(path)
    if suffix in PICKLED:
        raise refusal(
            f"A {suffix} file may hold a pickle, which can run code when it is read; "
            "we load safetensors, ONNX and OpenVINO.",
            "Export the model to ONNX and give the .onnx file.",
        )
    if suffix in OTHER_WEIGHTS:
        raise refusal(f"A {suffix} file is not enough to run a model.", PASTE_PATH)
    return LocalFolder(path)


def from_file_url(text: str) -> LocalFolder | LocalFile:
    """``file:///path``, percent-decoded."""
    try:
        parts = urlsplit(text)
        path = unquote(parts.path, errors="strict")
    except ValueError:
        raise refusal("The file URL cannot be read.", "Give the path itself, such as /models/street.") from None
    if parts.netloc.lower() not in {"", "localhost"} or parts.query or parts.fragment or not path.startswith("/"):
        raise refusal(
            "A file URL names a path on this machine only.", "Write file:///models/street, or the path itself."
        )
    return from_path(checked(path))


def from_https(url: Pasted) -> HttpsFile:
    """A model file on a host that is no model hub, with the digests that pin it and what it does not say of itself."""
    suffix = posixpath.splitext(url.segments[-1])[1].lower()
    if suffix not in RUNNABLE:
        raise refusal(
            f"Of the files on the web only .onnx and OpenVINO's .xml are loaded, not {suffix}.",
            "Download the model's files into a folder and give that: ./folder.",
        )
    if "/" in url.segments[-1]:
        raise refusal("The name of the file holds a slash.", PASTE_FILE)
    if url.scheme != "https":
        raise refusal("A model is fetched over https only.", PASTE_FILE)
    if url.keys or any(value not in _HARMLESS.get(name.lower(), ()) for name, value in url.query):
        raise refusal(
            "The address carries parameters that may be a key or expire.",
            "Download the file and give its path: ./model.onnx.",
        )
    pinned = _PINNED.fullmatch(url.fragment)
    if not pinned:
        raise refusal("The SHA-256 of the file is missing or is not 64 hex digits.", PASTE_FILE)
    digest, weights = pinned["file"].lower().replace(UNKNOWN, ""), (pinned["bin"] or "").lower()
    if bool(weights) != (suffix == ".xml" and bool(digest)):
        raise refusal(
            "An OpenVINO model has its weights in a .bin file, whose SHA-256 is wanted as well; an ONNX file has none.",
            "Paste https://HOST/PATH/model.xml#sha256=DIGEST&bin_sha256=DIGEST-OF-THE-BIN.",
        )
    path = "".join(f"/{quote(segment, safe='')}" for segment in url.segments)
    query = "&".join(f"{name}={value}" for name, value in url.query)
    address = url.base_url + path + (f"?{query}" if query else "")
    return HttpsFile(address, digest, weights, said_in(pinned["more"] or ""))


def looks_like_weights(segment: str) -> bool:
    return segment.lower().endswith((*RUNNABLE, *PICKLED, *OTHER_WEIGHTS))
