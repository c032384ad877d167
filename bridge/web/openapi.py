"""The OpenAPI 3.1 document, made from the route table and the models that the handlers really use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge.domain import Scope
from bridge.web.answers import ErrorAnswer
from bridge.web.idempotency import HEADER, MAX_KEY
from bridge.web.reading import ID_LIMITS, PATH_LIMITS
from bridge.web.route import AnyRoute, Media, Nothing
from bridge.web.routes import ROUTES

Json = dict[str, Any]

STATUS_TEXT: Mapping[int, str] = {
    200: "Done.",
    201: "Made.",
    202: "Begun.",
    204: "Done; there is nothing to say.",
    304: "As it was when If-None-Match was given.",
    400: "A parameter, the body or its meaning is wrong.",
    401: "A token is missing, or it is unknown, revoked or expired.",
    403: "Refused: the token's scope is too small, a foreign web page, a folder of the server that is not allowed, or "
    "the model's host denies access.",
    404: "There is no such thing.",
    409: "It contradicts the present state, such as a name that is taken.",
    413: "Too large.",
    415: "The Content-Type is none that this route takes.",
    422: "The image cannot be read, or the model is of a kind that cannot be run.",
    429: "Too many wrong credentials, or the model's host asks to slow down; Retry-After says how long.",
    500: "A defect of Hubbridge.",
    502: "The model or its host answered something that is no result.",
    503: "Too much is waiting, or the database or the model's host does not answer; try again.",
    504: "The model did not answer in time.",
}
SHARED_ERRORS = (400, 403, 503)  # of every route: wrong query, foreign page, busy database
AUTH_ERRORS = (401, 429)  # of every route that needs a token
SCHEMES: Json = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `hubbridge token create`, with the scope read, annotate or admin. On the loopback "
        "interface the service is open until the first one is made.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name, and a token as the password."},
}
_REF = "#/components/schemas/{model}"


def make_document() -> Json:
    """The whole document, as plain JSON data."""
    models = {model for route in ROUTES for model in _models_of(route)} | {ErrorAnswer}
    ordered = sorted(models, key=lambda model: model.__name__)
    inputs = {route.body for route in ROUTES}
    wanted: list[Any] = [(model, "validation" if model in inputs else "serialization") for model in ordered]
    _, schemas = models_json_schema(wanted, ref_template=_REF)
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hubbridge",
            "version": version("hubbridge"),
            "summary": "Annotate images with models from Hugging Face and elsewhere.",
            "description": "Register a model by its URL, match its labels to a task's, annotate, take the annotations "
            "away. Errors have one form: a stable code, a sentence that says what happened, and what to do next. "
            "Lists come in pages: `next_cursor` of one is `cursor` of the next, and null at the end.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "responses": {f"Error{status}": _error(status) for status in sorted(_error_statuses())},
            "securitySchemes": SCHEMES,
        },
    }


def _models_of(route: AnyRoute) -> set[type[BaseModel]]:
    found = {model for model in route.answers.values() if isinstance(model, type)}
    return found | ({route.body} if route.body is not Nothing else set())


def errors_of(route: AnyRoute) -> list[int]:
    """The statuses of a route's errors."""
    takes_json = route.body is not Nothing
    shared = SHARED_ERRORS if route.scope is Scope.OPEN else (*SHARED_ERRORS, *AUTH_ERRORS)
    return sorted({*shared, *route.errors, *((413, 415) if takes_json else ()), *((409,) if route.idempotent else ())})


def _error_statuses() -> set[int]:
    return {status for route in ROUTES for status in errors_of(route)}


def _operation(route: AnyRoute) -> Json:
    operation: Json = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "description": (route.description + " " if route.description else "") + f"Scope: {route.scope}.",
        "security": [{}, *({scheme: [str(route.scope)]} for scheme in SCHEMES if route.scope is not Scope.OPEN)],
        "x-scope": str(route.scope),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {str(status): _answer(status, shape) for status, shape in route.answers.items()}
        | {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in errors_of(route)},
    }
    links = _links(route)
    if links:
        operation["responses"]["201"]["links"] = links
    body = _body(route)
    if body:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _links(route: AnyRoute) -> Json:
    """What can be done next with the thing that a route has made: every operation on its id."""
    made = route.answers.get(201)
    if not isinstance(made, type) or "id" not in made.model_fields:
        return {}
    one = re.compile(re.escape(route.path) + r"/{(\w+)}(/[^{]*)?")
    found = ((other.operation_id, one.fullmatch(other.path)) for other in ROUTES)
    return {
        name: {"operationId": name, "parameters": {match[1]: "$response.body#/id"}}
        for name, match in found
        if match is not None
    }


def _answer(status: int, shape: type[BaseModel] | Media | None) -> Json:
    answer: Json = {"description": STATUS_TEXT[status]}
    if isinstance(shape, Media):
        answer["content"] = {shape.content_type: {"schema": _media_schema(shape)}}
        answer["description"] = shape.description
    elif shape is not None:
        answer["content"] = {"application/json": {"schema": {"$ref": _REF.format(model=shape.__name__)}}}
    return answer


def _media_schema(media: Media) -> Json:
    if media.content_type == "application/json":
        return {"type": "object"}
    if media.fields is not None:
        one: Json = {"type": "string", "format": "binary"}
        properties = {
            name.removesuffix("[]"): {"type": "array", "items": one, "description": text}
            if name.endswith("[]")
            else {**one, "description": text}
            for name, text in media.fields.items()
        }
        return {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "string", "format": "binary"} if media.binary else {"type": "string"}


def _error(status: int) -> Json:
    schema = {"$ref": _REF.format(model="ErrorAnswer")}
    return {"description": STATUS_TEXT[status], "content": {"application/json": {"schema": schema}}}


def _path_parameters(route: AnyRoute) -> list[Json]:
    found = []
    for name in re.findall(r"{(\w+)}", route.path):
        low, high = PATH_LIMITS.get(name, ID_LIMITS)
        schema = {"type": "integer", "minimum": low, "maximum": high}
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "example": low})
    return found


def _query_parameters(route: AnyRoute) -> list[Json]:
    schema = route.query.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    found = []
    for name, field in schema.get("properties", {}).items():
        shape = {key: value for key, value in field.items() if key not in ("title", "description")}
        variants = [variant for variant in shape.pop("anyOf", []) if variant != {"type": "null"}]
        if variants:
            (variant,) = variants
            shape = {**variant, **{key: value for key, value in shape.items() if value is not None}}
        if "$ref" in shape:
            shape = {"type": "string", "enum": definitions[shape["$ref"].rpartition("/")[2]]["enum"]}
        parameter: Json = {"name": name, "in": "query", "required": False}
        if "contentSchema" in shape:
            parameter["content"] = {shape["contentMediaType"]: {"schema": shape["contentSchema"]}}
        else:
            parameter["schema"] = shape
        if "description" in field:
            parameter["description"] = field["description"]
        found.append(parameter)
    return found


def _header_parameters(route: AnyRoute) -> list[Json]:
    found: list[Json] = []
    if route.idempotent:
        schema: Json = {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": r"^[\x20-\x7e]+$"}
        text = "The same request with the same key a second time is answered as the first was, and makes nothing new."
        found.append({"name": HEADER, "in": "header", "required": False, "description": text, "schema": schema})
    if route.operation_id == "jobEvents":
        text = "The id of the last event that was seen."
        schema = {"type": "string", "pattern": r"^[\x21-\x7e]*$"}
        found.append(
            {"name": "Last-Event-ID", "in": "header", "required": False, "description": text, "schema": schema}
        )
    return found


def _body(route: AnyRoute) -> Json:
    content: Json = {media.content_type: {"schema": _media_schema(media)} for media in route.uploads}
    if route.body is not Nothing:
        content["application/json"] = {"schema": {"$ref": _REF.format(model=route.body.__name__)}}
        if route.example is not None:
            content["application/json"]["example"] = route.example
    return content
