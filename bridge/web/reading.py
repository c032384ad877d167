"""What a request says, checked: numbers in its path, its query, and its JSON body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.errors import InvalidRequest, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

FORM = "application/x-www-form-urlencoded"
MAX_JSON_BYTES = 16 * 2**20
PATH_LIMITS: Mapping[str, tuple[int, int]] = {"number": (0, 2**31 - 1)}  # others are ids
ID_LIMITS = (1, 2**63 - 1)
_WHOLE = re.compile(r"[0-9]{1,19}")


def path_numbers(request: web.Request) -> dict[str, int]:
    """The numbers in the path, by name. Raises InvalidRequest."""
    numbers = {}
    for name, text in request.match_info.items():
        low, high = PATH_LIMITS.get(name, ID_LIMITS)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise InvalidRequest(
                f"{name} in the path must be a whole number from {low}, not {text[:40]!r}.",
                hint="Names are listed with their ids, which stand in paths.",
            )
        numbers[name] = int(text)
    return numbers


def read_query(request: web.Request, model: type[M]) -> M:
    """The query parameters. Raises InvalidRequest for unknown, repeated and wrong ones."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise InvalidRequest(f"The query parameter {name[:40]!r} is given twice.", hint="Give it once.")
        if "\0" in value or not _encodable(value):
            raise InvalidRequest(f"The query parameter {name[:40]!r} is no text.", hint="Encode it as UTF-8.")
        given[name] = value
    try:
        return model.model_validate_strings(given)
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        raise InvalidRequest(_first(error, "query parameter"), hint=f"Parameters are: {known}.") from None


async def read_json(request: web.Request, model: type[M]) -> M:
    """The body as JSON. Raises UnsupportedMediaType and InvalidRequest; too large is aiohttp's to refuse."""
    check_content_type(request, ("application/json",))
    try:
        body = await request.read()
    except web.RequestPayloadError as error:
        raise InvalidRequest("The body is not sent as HTTP has it.", hint="Send it again.") from error
    return parse_json(body, model)


def parse_json(body: bytes, model: type[M]) -> M:
    if b"\\u0000" in body:
        raise InvalidRequest("The body holds a null character.", hint="Leave it out.", code="invalid_json")
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise InvalidRequest(
            _first(error, "body"), hint="GET /v1/openapi.json says what this route takes.", code="invalid_json"
        ) from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form that is sent as such a text. Raises UnsupportedMediaType and InvalidRequest."""
    check_content_type(request, (FORM,))
    try:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    except (web.RequestPayloadError, ValueError, LookupError) as error:
        raise InvalidRequest("The form is not sent as HTTP has it.", hint="Send it in UTF-8.") from error


def check_content_type(request: web.Request, allowed: tuple[str, ...]) -> str:
    """The media type of the body, in lower case. Raises UnsupportedMediaType."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"The body is packed as {encoding[:40]!r}.", hint="Send it as it is.")
    given = request.headers.get("Content-Type", "")
    media = given.partition(";")[0].strip().lower()
    fits = any(
        media == one or (one.endswith("/*") and media.startswith(one[:-1]) and len(media) > 2) for one in allowed
    )
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", given, re.IGNORECASE)
    if not fits or (media == "application/json" and charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedMediaType(
            f"The body is declared as {given[:80]!r}, which this route does not take.",
            hint=f"Send Content-Type: {' or '.join(allowed)}.",
        )
    return media


def _first(error: ValidationError, what: str) -> str:
    """The first thing that is wrong, as a sentence without the value."""
    first: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part)[:60] for part in first["loc"])
    message = str(first["msg"])[:300].rstrip(".").removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return f"{message}."
    return f"{what.capitalize()}{f' {place}' if place else ''}: {message[:1].lower()}{message[1:]}."


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
