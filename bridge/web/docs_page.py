"""The OpenAPI document as a page that needs no script."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from bridge.web.pages.static import static_files

Json = dict[str, Any]


def render_page(document: Json) -> str:
    """HTML of every operation by tag, then every schema."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])} REST API</title>",
        f'<link rel="stylesheet" href="{static_files().url("css/docs.css")}"></head><body>',
        f"<h1>{escape(info['title'])} REST API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        '<p>For programs: <a href="/v1/openapi.json">/v1/openapi.json</a> (OpenAPI 3.1).</p>',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            parts += [
                _operation(method.upper(), path, op) for method, op in methods.items() if tag["name"] in op["tags"]
            ]
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        body = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(
            f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><pre>{body}</pre></details>'
        )
    parts.append("</body></html>")
    return "".join(parts)


def _shape(parameter: Json) -> Json:
    """Its schema, which stands deeper where its value is JSON."""
    if "content" in parameter:
        (parameter,) = parameter["content"].values()
    shape: Json = parameter["schema"]
    return shape


def _operation(method: str, path: str, operation: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(p.get('description', ''))} {_schema(_shape(p))}</td></tr>"
        for p in operation["parameters"]
    )
    table = f"<table><tr><th>Parameter</th><th>In</th><th></th></tr>{rows}</table>" if rows else ""
    body = ""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        body += f"<p>Body <code>{escape(media)}</code>: {_schema(content['schema'])}</p>"
        if "example" in content:
            body += f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>"
    answers = "".join(
        f"<tr><td>{status}</td><td>{_answer(answer)}</td></tr>" for status, answer in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method {method}">{method}</span>'
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary><p>{escape(operation['description'])}</p>"
        f"{table}{body}<table><tr><th>Status</th><th>Answer</th></tr>{answers}</table></details>"
    )


def _answer(answer: Json) -> str:
    if "$ref" in answer:
        return f"Error: {_link('ErrorAnswer')}"
    shapes = ", ".join(
        f"<code>{escape(media)}</code> {_schema(content['schema'])}"
        for media, content in answer.get("content", {}).items()
    )
    return f"{escape(answer['description'])} {shapes}"


def _schema(schema: Json) -> str:
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    kept = {key: value for key, value in schema.items() if key not in ("title", "format", "examples")}
    return f"<code>{escape(json.dumps(kept))}</code>"


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'
