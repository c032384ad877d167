"""Hugging Face: ids, hf:// text, pages of the hub, router and endpoint URLs."""

from __future__ import annotations

import re

from adapters.errors import InvalidReference
from adapters.references.hints import hints_of
from adapters.references.kinds import (
    ENDPOINT_DOMAIN,
    PLAIN_REF,
    ROUTER,
    HuggingFaceEndpoint,
    HuggingFaceModel,
)
from adapters.references.pasted import Pasted, refusal

HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co")
ROUTER_HOSTS = ("router.huggingface.co", "api-inference.huggingface.co")
PASTE_MODEL = "Paste the model's page, https://huggingface.co/ORG/NAME, or its id, ORG/NAME."
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".h5", ".keras", ".msgpack", ".joblib")
OTHER_WEIGHTS = (".safetensors", ".gguf", ".tflite", ".engine", ".mlmodel", ".pb", ".torchscript")
RUNNABLE = (".onnx", ".xml")

# huggingface_hub's validate_repo_id: letters, digits, - _ . ; at most 96; no - or . at an end, no -- or .. inside.
_NAME = re.compile(r"(?!.*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[\w](?:[\w./+-]{0,253}[\w+-])?", re.ASCII)

# First words of the hub's own pages, which are shaped like org/name.
_NOT_MODELS = {"datasets": "dataset", "dataset": "dataset", "spaces": "Space", "space": "Space"}
# fmt: off
_PAGES = frozenset({
    "api", "blog", "brand", "buckets", "changelog", "chat", "contribute", "enterprise", "inference", "inference-api",
    "inference-endpoints", "inference-providers", "join", "kernels", "learn", "login", "logout", "new", "new-dataset",
    "new-space", "notifications", "oauth", "organizations", "posts", "pricing", "privacy", "search", "security",
    "settings", "signup", "storage", "support", "tasks", "terms-of-service", "trending", "users",
})
# fmt: on
_REVISION_PAGES = ("tree", "blob", "resolve", "raw", "blame", "edit")
_COMMIT_PAGES = ("commit", "commits")


def is_hugging_face(host: str) -> bool:
    return (
        host in HUB_HOSTS
        or host == "hf.space"
        or host.endswith((".huggingface.co", ".hf.co", ".hf.space", ".huggingface.cloud"))
    )


def from_url(url: Pasted) -> HuggingFaceModel | HuggingFaceEndpoint:
    """A URL on one of Hugging Face's hosts."""
    if url.host in HUB_HOSTS:
        return from_page(url.segments)
    if url.host in ROUTER_HOSTS:
        return _from_router(url.segments)
    if url.host.endswith(ENDPOINT_DOMAIN):
        return _endpoint(f"https://{url.netloc}", url)
    if url.host.endswith("hf.space"):
        raise _not_a_model("Space")
    if url.host in {"ui.endpoints.huggingface.co", "endpoints.huggingface.co"}:
        raise refusal(
            "This is the settings page of an inference endpoint.",
            f"Paste the endpoint's own URL, which ends in {ENDPOINT_DOMAIN}.",
        )
    raise refusal(f"{url.host} serves no models.", PASTE_MODEL)


def custom_endpoint(url: Pasted) -> HuggingFaceEndpoint:
    """Any URL that the user has called an endpoint with ``hf-endpoint+``."""
    return _endpoint(url.base_url, url)


def _endpoint(base_url: str, url: Pasted) -> HuggingFaceEndpoint:
    hints = hints_of(url)
    model = ""
    if hints.model:
        segments = tuple(segment for segment in hints.model.split("/") if segment)
        model = from_id(segments).repo_id
    return HuggingFaceEndpoint(base_url + _plain_path(url.segments), model, hints.task, hints.labels)


def from_page(segments: tuple[str, ...]) -> HuggingFaceModel:
    """The path of a page of the hub (or of its ``/api/models``): ORG/NAME, then what is looked at there."""
    if segments[:2] == ("api", "models"):
        segments = segments[2:]
        if len(segments) >= 4 and segments[2] == "revision":
            return _model(segments[:2], "/".join(segments[3:]), ())
    elif segments[:1] == ("models",) and len(segments) == 3:
        segments = segments[1:]
    if not segments:
        raise refusal("This is the start page of the hub, not a model.", PASTE_MODEL)
    _refuse_other_pages(segments)
    pages = (*_REVISION_PAGES, *_COMMIT_PAGES, "discussions")
    # A legacy id is one word, so its pages stand where other models have their name.
    words = 1 if len(segments) > 1 and segments[1] in pages and (len(segments) < 3 or segments[2] not in pages) else 2
    repo, page, rest = segments[:words], segments[words : words + 1], segments[words + 1 :]
    if not page or page[0] in {"discussions", "settings"}:
        return _model(repo, None, ())
    if page[0] in _COMMIT_PAGES:
        return _model(repo, *_revision_and_file(rest[:3] if rest[:1] == ("refs",) else rest[:1]))
    if page[0] not in _REVISION_PAGES:
        raise refusal("This page of the hub is no model and no file of one.", PASTE_MODEL)
    revision, file = _revision_and_file(rest)
    return _model(repo, revision, () if page[0] == "tree" else file)


def from_id(segments: tuple[str, ...]) -> HuggingFaceModel:
    """``ORG/NAME[@REVISION][/FILE]`` or ``NAME[@REVISION[/FILE]]``, as in hf:// text."""
    if segments[:1] == ("models",) and len(segments) > 1:
        segments = segments[1:]
    if not segments:
        raise refusal("No model was given.", PASTE_MODEL)
    _refuse_other_pages(segments)
    for at, segment in enumerate(segments[:2]):
        if "@" in segment:
            name, _, start = segment.partition("@")
            revision, file = _revision_and_file((start, *segments[at + 1 :]))
            return _checked_file((*segments[:at], name), revision, file)
    return _checked_file(segments[:2], None, segments[2:])


def _checked_file(repo: tuple[str, ...], revision: str | None, file: tuple[str, ...]) -> HuggingFaceModel:
    known = (*RUNNABLE, *PICKLED, *OTHER_WEIGHTS, ".json", ".md", ".txt")
    if file and not file[-1].lower().endswith(known):
        raise refusal(
            "What follows the model's id is no .onnx or .xml file.",
            "Leave it out; and where a revision holds a slash, write it as %2F (ORG/NAME@feature%2Fx).",
        )
    return _model(repo, revision, file)


def _model(repo: tuple[str, ...], revision: str | None, file: tuple[str, ...]) -> HuggingFaceModel:
    if len(repo) not in {1, 2}:
        raise refusal("A model id has one or two parts.", PASTE_MODEL)
    *org, name = repo
    name = name.removesuffix(".git")  # as in the URL to clone from
    if not all(_NAME.fullmatch(part) for part in (*org, name)) or name.endswith(".ipynb"):
        raise refusal(
            "This is no valid model id: parts hold letters, digits, -, _ and . only, at most 96, "
            "without -- or .. and without - or . at an end.",
            PASTE_MODEL,
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or revision.endswith(".lock")):
        raise refusal(
            "The revision is no name of a branch, tag or commit.", "Write ORG/NAME@main, or a commit's 40 digits."
        )
    path = "/".join(file)
    if path.lower().endswith(PICKLED):
        raise refusal(
            "This file may hold a pickle, which can run code when it is read; we load safetensors, ONNX and OpenVINO.",
            PASTE_MODEL,
        )
    return HuggingFaceModel(
        "/".join((*org, name)),
        None if revision == "main" else revision,
        path if path.lower().endswith(RUNNABLE) else None,  # any other file is a page about the whole model
    )


def _revision_and_file(rest: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    if not rest:
        return None, ()
    plain = "/".join(rest[:3])
    if PLAIN_REF.fullmatch(plain):
        return plain, rest[3:]
    return rest[0], rest[1:]


def _from_router(segments: tuple[str, ...]) -> HuggingFaceEndpoint:
    if segments[:1] == ("hf-inference",):
        segments = segments[1:]
    if segments[:1] != ("models",) or len(segments) not in {2, 3}:
        raise refusal(
            "Of the router only hf-inference serves images: this URL is another provider's or a chat route.",
            f"Paste {ROUTER}ORG/NAME, or the model's page.",
        )
    return HuggingFaceEndpoint(ROUTER + _model(segments[1:], None, ()).repo_id)


def _refuse_other_pages(segments: tuple[str, ...]) -> None:
    first = segments[0].lower()
    if first in _NOT_MODELS:
        raise _not_a_model(_NOT_MODELS[first])
    if first == "docs":
        raise refusal("This is a page of documentation, not a model.", PASTE_MODEL)
    if first == "papers":
        raise refusal("This is a paper, not a model.", f"Choose one of the models that its page links. {PASTE_MODEL}")
    if first in {"collections", "models"}:
        raise refusal("This is a list of models, not one of them.", PASTE_MODEL)
    if first in _PAGES:
        raise refusal(f"huggingface.co/{first} is a page of the hub itself, not a model.", PASTE_MODEL)


def _not_a_model(kind: str) -> InvalidReference:
    if kind == "dataset":
        return refusal("This is a dataset, not a model.", f"Paste a model that was trained on it. {PASTE_MODEL}")
    return refusal("This is a Space (an app), not a model.", f"Its page links the models it uses. {PASTE_MODEL}")


def _plain_path(segments: tuple[str, ...]) -> str:
    if not all(re.fullmatch(r"[\w.~-]+", segment, re.ASCII) for segment in segments):
        raise refusal(
            "The path of the endpoint holds unusual characters.", "Paste the endpoint's URL as its page shows it."
        )
    return "".join(f"/{segment}" for segment in segments)
