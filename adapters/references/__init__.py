"""A pasted URL, id or path becomes a typed reference, or a refusal that says why. Pure: asks no host and no disk."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from adapters.references import cascade, files, huggingface, nuclio, roboflow
from adapters.references.cascade import Cascade
from adapters.references.kinds import (
    BuiltIn,
    HttpsFile,
    HuggingFaceEndpoint,
    HuggingFaceModel,
    InferenceServerModel,
    LocalFile,
    LocalFolder,
    NuclioFunction,
    Reference,
    RoboflowVersion,
)
from adapters.references.pasted import FORMS, Pasted, checked, refusal, split_path, split_url

__all__ = [
    "BuiltIn",
    "Cascade",
    "FoundSecret",
    "HttpsFile",
    "HuggingFaceEndpoint",
    "HuggingFaceModel",
    "InferenceServerModel",
    "LocalFile",
    "LocalFolder",
    "NuclioFunction",
    "Parsed",
    "Reference",
    "RoboflowVersion",
    "parse_reference",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?=[/?#]|$)")


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A key that stood in the pasted text.

    kind    of connection it belongs to: huggingface, roboflow, nuclio
    host    that it is meant for: ``huggingface.co`` and ``roboflow.com`` for the vendors' clouds, else ``host[:port]``
    value   the key, or ``user:password``
    """

    kind: str
    host: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """``account``: kind and host of the connection that a key for this model belongs to; empty where none does."""

    reference: Reference
    secrets: tuple[FoundSecret, ...] = ()
    account: tuple[str, str] = field(default=("", ""), compare=False)


def parse_reference(text: str, *, hub_endpoint: str = "") -> Parsed:
    """What ``text`` names.

    ``hub_endpoint`` is the base URL of the hub in use, where it is not huggingface.co (a mirror, a hub of one's own):
    URLs below it are read as that hub's pages. Text without a scheme is read so: a known host, or host:port, is a URL;
    what starts with / ./ ../ or ~, or ends in .onnx or .xml, is a path; ``a/b/3`` and ``b/3`` are Roboflow versions;
    ``org/name[@revision]`` and a single word are models of the hub, even where a folder of that name exists.

    Raises InvalidReference, and nothing else, for every other string. No key that was found in the text occurs in the
    reference, in any ``repr`` or in the message of an error.
    """
    text = checked(text)
    if text.startswith(cascade.SCHEME):
        return _parse_cascade(text, hub_endpoint)
    if files.is_path(text):
        return Parsed(files.from_path(text))
    if text.lower().startswith("file://"):
        return Parsed(files.from_file_url(text))
    text = _with_scheme(text)
    scheme = _SCHEME.match(text)
    return _parse_url(text, scheme, hub_endpoint) if scheme else _parse_bare(text)


def _parse_cascade(text: str, hub_endpoint: str) -> Parsed:
    secrets: list[FoundSecret] = []

    def canonical(part: str) -> str:
        parsed = parse_reference(part, hub_endpoint=hub_endpoint)
        secrets.extend(parsed.secrets)
        return parsed.reference.canonical

    return Parsed(cascade.from_text(text, canonical), tuple(dict.fromkeys(secrets)))


def _parse_url(text: str, scheme: re.Match[str], hub_endpoint: str) -> Parsed:
    name, rest = scheme[1].lower(), text[scheme.end() :]
    if name == "hf":
        parts = split_path(rest, name)
        return _parsed(huggingface.from_id(parts.segments), parts)
    if name == "builtin":
        parts = split_path(rest, name)
        if len(parts.segments) != 1:
            raise refusal("A built-in model has one name.", "Write builtin://template-tracker.")
        return _parsed(BuiltIn(parts.segments[0]), parts)
    if name == "roboflow":
        parts = split_path(rest, name)
        return _parsed(roboflow.from_parts(parts.segments), parts)
    prefix, _, scheme_of_url = name.rpartition("+")
    if scheme_of_url not in {"http", "https"} or prefix not in {"", "nuclio", "hf-endpoint"}:
        raise refusal("The text starts with a scheme that leads to no model we can use.", FORMS)
    url = split_url(text[len(prefix) + 1 :] if prefix else text)
    if prefix == "nuclio":
        return _parsed(nuclio.direct(url), url)
    if prefix:
        known = huggingface.is_hugging_face(url.host)
        return _parsed(huggingface.from_url(url) if known else huggingface.custom_endpoint(url), url)
    return _parsed(_from_url(url, hub_endpoint), url)


def _with_scheme(text: str) -> str:
    """A URL whose scheme was left out, with it."""
    first = re.split(r"[/?#]", text, maxsplit=1)[0].lower()
    host = first.partition(":")[0]
    if huggingface.is_hugging_face(host) or roboflow.is_roboflow(host):
        return f"https://{text}"
    return f"http://{text}" if _HOST_AND_PORT.match(text) else text


def _from_url(url: Pasted, hub_endpoint: str) -> Reference:
    if hub_endpoint:
        hub = split_url(checked(hub_endpoint))
        depth = len(hub.segments)
        if (url.host, url.port) == (hub.host, hub.port) and url.segments[:depth] == hub.segments:
            return huggingface.from_page(url.segments[depth:])
    if huggingface.is_hugging_face(url.host):
        return huggingface.from_url(url)
    if roboflow.is_roboflow(url.host):
        return roboflow.from_url(url)
    if url.segments and files.looks_like_weights(url.segments[-1]):
        return files.from_https(url)
    found = nuclio.on_dashboard(url) or roboflow.on_server(url)
    if found is None:
        raise refusal(
            "Nothing at this address is known to be a model.",
            f"An inference server's model is {url.base_url}/PROJECT/3; write nuclio+{url.base_url} for a Nuclio "
            f"function's own port and hf-endpoint+{url.base_url} for a Hugging Face endpoint. {FORMS}",
        )
    return found


def _parse_bare(text: str) -> Parsed:
    """Text without a scheme that is no URL: an id, or the name of a file."""
    parts = split_path(text)
    segments = parts.segments
    if not segments or ":" in "".join(segments):
        raise refusal("This is neither a URL nor a model id nor a path.", FORMS)
    if "@" not in text and files.looks_like_weights(segments[-1]):
        if set(text) & set("?#%"):
            raise refusal("This looks like a file's name with parts of a URL.", "Write a path with ./ in front.")
        return Parsed(files.from_path(f"./{text}"))
    if "@" not in text and segments[-1].isdigit() and len(segments) in {2, 3}:
        return _parsed(roboflow.from_parts(segments), parts)
    if len(segments) > 2 and "@" not in text:
        if segments[0] in {"datasets", "spaces"} or segments[2] in {"tree", "blob", "resolve", "raw"}:
            return _parsed(huggingface.from_page(segments), parts)
        raise refusal("A model id has one or two parts, a Roboflow version ends in its number.", FORMS)
    return _parsed(huggingface.from_id(segments), parts)


def _parsed(reference: Reference, source: Pasted) -> Parsed:
    kind, host = _account(reference, source)
    values = list(source.keys)
    if source.login:
        # git clone URLs carry the token as user or as password; a proxy and a server of files want both.
        user, _, password = source.login.partition(":")
        login = source.login if kind in ("nuclio", "https") else password or user
        values.insert(0, login)
    found = tuple(FoundSecret(kind, host, value) for value in dict.fromkeys(values) if value)
    return Parsed(reference, found, (kind, host))


def _account(reference: Reference, source: Pasted) -> tuple[str, str]:  # noqa: PLR0911 (one line for each kind)
    """Kind and host of the connection that a key in this text is for."""
    match reference:
        case HuggingFaceModel():
            # A mirror's key is the mirror's: it must not go to huggingface.co.
            foreign = source.host and not huggingface.is_hugging_face(source.host)
            return "huggingface", source.netloc if foreign else "huggingface.co"
        case HuggingFaceEndpoint():
            # Anybody can run an endpoint: a key that came with its URL is for it alone. The router is the hub's own.
            return "huggingface", "huggingface.co" if reference.repo_id else source.netloc
        case RoboflowVersion():
            return "roboflow", "roboflow.com"
        case InferenceServerModel():
            return "roboflow", source.netloc
        case NuclioFunction():
            return "nuclio", source.netloc
        case HttpsFile():
            return "https", source.netloc
    return "", ""
