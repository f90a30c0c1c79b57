"""The OpenAPI document: what the framework finds in the handlers, completed with what it cannot
know.

That is: what each field means (`field_words`), an example of each call (`examples`), the one shape
of every refusal, and with which statuses a call can be refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from litestar import MediaType, Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from msgspec import Struct

import zmqim
from zmqim.gateway.http.examples import EXAMPLES
from zmqim.gateway.http.field_words import FIELD_WORDS
from zmqim.gateway.http.reference_page import reference_page

Json = dict[str, Any]

OPEN_PATHS: Final = frozenset({"/health", "/healthz", "/readyz", "/docs", "/docs/openapi.json"})
"""What needs no key."""
_JSON: Final = "application/json"
_PACKAGE: Final = __name__.rpartition(".")[0]
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "description": "A refusal, the same of every call.",
    "type": "object",
    "properties": {
        "msg": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "reason": {"type": "integer"},
        "hint": {"type": "string"},
    },
    "required": ["msg", "status", "code", "hint"],
}
_REFUSALS: Final = {
    "400": ("The request is wrong, or the channel's partition refused it. Nothing was stored.",
            {"msg": "the sender is not a member of the channel", "status": 400,
             "code": "not_subscriber", "reason": 3,
             "hint": "add the sender with /channel/subscriber_add"}),
    "401": ("The API key is missing or wrong.",
            {"msg": "the API key is missing or wrong", "status": 401, "code": "no_key",
             "hint": "send it in the header `token` or as `Authorization: Bearer`"}),
    "404": ("This gateway has no such connection, or the topology no such gateway.",
            {"msg": "this gateway has no connection 7 of 'ada'", "status": 404,
             "code": "not_found", "hint": "/connz lists those of a gateway"}),
    "413": ("The body is too large.",
            {"msg": "the body is above 8388608 bytes", "status": 413, "code": "too_large",
             "hint": "give a long list in several calls"}),
    "500": ("A fault of the server; its log has it.",
            {"msg": "a fault in the server", "status": 500, "code": "internal",
             "hint": "see the gateway's log"}),
    "503": ("No answer in time; `code` says whether it may have been done all the same.",
            {"msg": "no leader could be reached; nothing was stored", "status": 503,
             "code": "unavailable", "hint": "try again"}),
}  # fmt: skip
_ABOUT_ONE_GATEWAY: Final = frozenset({"/connz", "/varz", "/conn/kick", "/conn/remove"})
_BENCH: Final = "/bench/v1/"
_BENCH_OFF: Final = (
    "These calls are switched off.",
    {"msg": "the calls of WuKongIM's load driver are switched off here", "status": 404,
     "code": "bench_off", "hint": "see docs/BENCH.md"},
)  # fmt: skip
_ASKS_NOBODY: Final = _ABOUT_ONE_GATEWAY | {
    "/route", "/route/batch", "/health", "/healthz", "/metrics", "/varz/setting",
    "/bench/v1/capabilities", "/bench/v1/capacity-target", "/bench/v1/snapshot",
}  # fmt: skip
"""What is answered from this process alone."""


def openapi_config() -> OpenAPIConfig:
    """Title, security schemes and place of the OpenAPI document."""
    return OpenAPIConfig(
        title="zmqim HTTP API",
        version=zmqim.__version__,
        description="For backends: users, channels, messages. Every call but /health, /healthz, "
        "/readyz and /docs needs the API key in the header `token` or as `Authorization: Bearer`.",
        path="/docs",
        render_plugins=[_Page(), _Document(path="/openapi.json")],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="apiKey", name="token", security_scheme_in="header"),
                "bearer": SecurityScheme(type="http", scheme="bearer"),
            }
        ),
        security=[{"key": []}, {"bearer": []}],
        use_handler_docstrings=True,
    )


class _Page(OpenAPIRenderPlugin):
    """The calls as a page, at the root of the OpenAPI path."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        """The page for `openapi_schema`."""
        return reference_page(completed(openapi_schema)).encode()


class _Document(JsonRenderPlugin):
    """The document for machines."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        """The JSON of `openapi_schema`."""
        return json.dumps(completed(openapi_schema)).encode()


def completed(found: Json) -> Json:
    """The framework's document with everything that it lacks."""
    document = deepcopy(found)
    schemas: Json = document["components"]["schemas"]
    schemas["Problem"] = deepcopy(_PROBLEM_SCHEMA)
    words = dict(_docstrings(Struct))
    for name, schema in schemas.items():
        schema.setdefault("description", words.get(name, ""))
        for field, described in schema.get("properties", {}).items():
            _describe(described, field)
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            _complete_call(f"{method.upper()} {path}", path, call)
    return document


def _docstrings(kind: type[Struct]) -> Iterator[tuple[str, str]]:
    """What the API's shapes say of themselves."""
    for shape in kind.__subclasses__():
        if shape.__module__.startswith(_PACKAGE):
            yield shape.__name__, " ".join((shape.__doc__ or "").split())
        yield from _docstrings(shape)


def _describe(described: Json, field: str) -> None:
    if field in FIELD_WORDS:
        # Beside a reference a description counts since OpenAPI 3.1.
        described.setdefault("description", FIELD_WORDS[field])


def _complete_call(name: str, path: str, call: Json) -> None:
    example = EXAMPLES.get(name)
    call["description"] = " ".join((call.get("description") or call["summary"]).split())
    query = example.request if example and isinstance(example.request, dict) else {}
    for parameter in call.get("parameters", []):
        _describe(parameter, parameter["name"])
        if parameter["name"] in query:
            parameter["example"] = query[parameter["name"]]
    answers = call["responses"]
    if "requestBody" in call:
        call["requestBody"]["description"] = f"What {path} takes."
        if example is not None:
            _put_example(call["requestBody"], example.request)
    if example is not None:
        answers["200"]["description"] = example.says
        _put_example(answers["200"], example.answer)
    for content in answers["200"].get("content", {}).values():
        schema = content["schema"]
        # An answer may look like several of the shapes: fields with a default are not required.
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
    for status in _refusals_of(path, call):
        is_switch = status == "404" and path.startswith(_BENCH)
        says, problem = _BENCH_OFF if is_switch else _REFUSALS[status]
        content = {_JSON: {"schema": _PROBLEM, "example": problem}}
        answers[status] = {"description": says, "content": content}
    if path == "/health":
        content = {_JSON: deepcopy(answers["200"]["content"][_JSON])}
        content[_JSON]["example"] = {"status": "error", "message": "no router is linked"}
        answers["500"] = {"description": "It cannot serve now.", "content": content}
    if path in OPEN_PATHS:
        call["security"] = [{}]


def _put_example(place: Json, example: object) -> None:
    for content in place.get("content", {}).values():
        content["example"] = deepcopy(example)


def _refusals_of(path: str, call: Json) -> list[str]:
    """The statuses with which a call can be refused."""
    has_body = "requestBody" in call
    return [
        *(["400"] if has_body or call.get("parameters") else []),
        *(["401"] if path not in OPEN_PATHS else []),
        *(["404"] if path in _ABOUT_ONE_GATEWAY or path.startswith(_BENCH) else []),
        *(["413"] if has_body else []),
        "500",
        *(["503"] if path not in _ASKS_NOBODY else []),
    ]
