"""Pasted text as its parts, with every key already taken out of them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from adapters.errors import InvalidReference

MAX_LENGTH = 4096  # Linux's PATH_MAX; no URL of a model comes near it
FORMS = (
    "Paste a model page (https://huggingface.co/ORG/NAME), an id (ORG/NAME), a Roboflow version "
    "(WORKSPACE/PROJECT/3), or a folder or .onnx file (./model)."
)
_SECRET_NAME = re.compile(
    r"api[_-]?key|.*token|key|.*secret.*|pass(word|wd)?|pwd|auth(orization)?|sig(nature)?|.*[_-](signature|credential|key)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}|rf_[A-Za-z0-9]{16,}")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*")


def refusal(message: str, hint: str = FORMS) -> InvalidReference:
    return InvalidReference(message, hint=hint)


@dataclass(frozen=True, slots=True)
class Pasted:
    """A URL, or text that is split like one.

    scheme     lower case; empty for text without one
    host       lower case, without user and port; empty for text without one and for hf:// and roboflow://
    port       None where it is the scheme's own
    segments   of the path, percent-decoded, empty ones dropped, never . or ..
    query      without the keys
    keys       values of the query's keys; ``login`` is the ``user:password`` before the host
    """

    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    fragment: str
    keys: tuple[str, ...] = ()
    login: str = ""

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def checked(text: str) -> str:
    """The text without outer white space; refuses what no reference can hold."""
    text = text.strip()
    if not text:
        raise refusal("No model was given.")
    if len(text) > MAX_LENGTH:
        raise refusal(f"The text is {len(text)} characters long; a model reference has at most {MAX_LENGTH}.")
    refuse_control_characters(text)
    if _TOKEN.fullmatch(text):
        raise refusal(
            "This is an access token, not a model.", "Paste the model; tokens go to `hubbridge connection add`."
        )
    return text


def split_url(text: str) -> Pasted:
    """Split ``scheme://[login@]host[:port]/path?query#fragment``."""
    _refuse_odd_characters(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The parser's own error quotes the whole URL, key and all.
        raise refusal("The URL has an invalid host or port.") from None
    host = (parts.hostname or "").removesuffix(".")
    if not _HOST.fullmatch(host) or ".." in host or len(host) > 253 or port == 0:
        raise refusal("The URL has no valid host name.")
    scheme = parts.scheme.lower()
    login = parts.netloc.rpartition("@")[0]
    default_port = {"http": 80, "https": 443}.get(scheme)
    return _assemble(scheme, host, None if port == default_port else port, parts, _decoded(login))


def split_path(text: str, scheme: str = "") -> Pasted:
    """Split ``path?query#fragment``: an id, or what follows hf:// and roboflow://."""
    _refuse_odd_characters(text)
    path, _, fragment = text.partition("#")
    path, _, query = path.partition("?")
    return _assemble(scheme, "", None, SplitResult("", "", path, query, fragment), "")


def _assemble(scheme: str, host: str, port: int | None, parts: SplitResult, login: str) -> Pasted:
    segments = tuple(_decoded(segment) for segment in parts.path.split("/") if segment)
    if any(piece in {".", ".."} for segment in segments for piece in segment.split("/")):
        raise refusal("The path holds . or .. and so names nothing certain.")
    if any(_TOKEN.search(segment) for segment in segments):
        raise refusal(
            "The path holds what looks like an access token.",
            "Take it out of the text; tokens go to `hubbridge connection add`.",
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, errors="strict", max_num_fields=100)
        more = parse_qsl(parts.fragment, errors="strict", max_num_fields=100)
    except ValueError:
        raise refusal("The part after the question mark cannot be read.") from None
    keys = [value.strip() for name, value in (*pairs, *more) if _is_key(name, value)]
    for key in keys:
        refuse_control_characters(key)
    query = tuple((name, value) for name, value in pairs if not _is_key(name, value))
    unique = tuple(dict.fromkeys(key for key in keys if key))
    return Pasted(scheme, host, port, segments, query, parts.fragment, unique, login)


def _is_key(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.fullmatch(name) or _TOKEN.search(value))


def _decoded(part: str) -> str:
    try:
        decoded = unquote(part, errors="strict")
    except ValueError:
        raise refusal("The URL holds percent signs that do not spell text.") from None
    refuse_control_characters(decoded)
    return decoded


def refuse_control_characters(text: str) -> None:
    """Raises InvalidReference where the text holds what nobody sees."""
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in text):
        raise refusal(
            "The text holds invisible or control characters.", "Type it anew, or copy it without line breaks."
        )


def _refuse_odd_characters(text: str) -> None:
    if any(character.isspace() for character in text):
        raise refusal("The text holds white space inside.", f"{FORMS} A path with spaces starts with / or ./")
    if not text.isascii():
        raise refusal(
            "The text holds characters outside ASCII, which no model id or host name has.",
            "Check for look-alike letters and dots, or percent-encode the path.",
        )
    if "\\" in text:
        raise refusal("The text holds a backslash.", "Write paths with forward slashes, starting with / or ./")
