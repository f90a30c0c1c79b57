"""The page at /docs: the OpenAPI document as plain HTML, without script or foreign host.

The stock viewers load their code from a CDN, which a chat server behind a firewall cannot reach;
the bundled one on PyPI is too old for OpenAPI 3.1. The document itself lies at /docs/openapi.json.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f4f4f4;border-radius:4px}
pre{padding:.8rem;overflow-x:auto}code{padding:.1rem .3rem}
summary{cursor:pointer;padding:.3rem 0}details{border-top:1px solid #ddd}
.m{display:inline-block;min-width:3.5rem;font-weight:600;color:#0a5}
"""


def reference_page(document: dict[str, Any]) -> str:
    """The HTML of an OpenAPI 3.1 document."""
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>Machine-readable: <a href=/docs/openapi.json>/docs/openapi.json</a></p>",
    ]
    for tag, calls in _calls_by_tag(document).items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts.extend(_call(path, method, call, schemas) for path, method, call in calls)
    return "".join(parts)


def _calls_by_tag(
    document: dict[str, Any],
) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            groups.setdefault((call.get("tags") or ["other"])[0], []).append((path, method, call))
    return groups


def _call(path: str, method: str, call: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [
        f"<details><summary><span class=m>{method.upper()}</span> <code>{escape(path)}</code> ",
        f"{escape(call.get('summary', ''))}</summary><p>{escape(call.get('description', ''))}</p>",
    ]
    for parameter in call.get("parameters", []):
        needed = "" if parameter.get("required") else " (optional)"
        parts.append(
            f"<p><code>{escape(parameter['name'])}</code> in {parameter['in']}{needed}</p>"
        )
    request = call.get("requestBody", {}).get("content", {})
    for content in request.values():
        parts.append("<p>Request</p>" + _schema(content.get("schema", {}), schemas))
    for status, answer in call.get("responses", {}).items():
        parts.append(f"<p>Answer {escape(status)}: {escape(answer.get('description', ''))}</p>")
        for content in (answer.get("content") or {}).values():
            parts.append(_schema(content.get("schema", {}), schemas))
    return "".join(parts) + "</details>"


def _schema(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(_resolved(schema, schemas, 0), indent=2))}</pre>"


def _resolved(schema: Any, schemas: dict[str, Any], depth: int) -> Any:
    """The schema with its references put in place, so that a reader sees the whole shape."""
    if isinstance(schema, list):
        return [_resolved(item, schemas, depth) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and depth < 8:
        return _resolved(schemas.get(reference.rpartition("/")[2], {}), schemas, depth + 1)
    return {key: _resolved(value, schemas, depth) for key, value in schema.items()}
