"""The OpenAPI document is whole: words for everything, an example of each call, every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs
import pytest
from http_rig import HttpRig

from zmqim.gateway.http.document import OPEN_PATHS
from zmqim.gateway.http.examples import EXAMPLES
from zmqim.gateway.http.field_words import FIELD_WORDS

Json = dict[str, Any]
Calls = dict[str, Json]


@pytest.fixture(scope="module")
def rig() -> Iterator[HttpRig]:
    with HttpRig(bench_is_on=True) as rig:
        yield rig


@pytest.fixture(scope="module")
def document(rig: HttpRig) -> Json:
    return rig.document


@pytest.fixture(scope="module")
def calls(document: Json) -> Calls:
    """By method and path, as in the table of examples."""
    return {
        f"{method.upper()} {path}": call
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    }


def contents(place: Json) -> list[Json]:
    return list(place.get("content", {}).values())


def test_every_call_and_everything_that_it_takes_and_gives_is_described(calls: Calls) -> None:
    for name, call in calls.items():
        assert len(call["description"].split()) > 1, name
        for part in [*call.get("parameters", []), *call["responses"].values()]:
            assert part["description"], (name, part)
        if "requestBody" in call:
            assert call["requestBody"]["description"]


def test_every_shape_and_each_of_its_fields_is_described(document: Json) -> None:
    lacking = []
    for name, schema in document["components"]["schemas"].items():
        described = schema.get("properties", {})
        lacking += [name] * (not schema.get("description"))
        lacking += [f"{name}.{field}" for field in described if not described[field]["description"]]
    assert lacking == []


def test_the_words_for_fields_are_all_needed(document: Json, calls: Calls) -> None:
    fields = {
        field
        for schema in document["components"]["schemas"].values()
        for field in schema.get("properties", {})
    }
    parameters = {
        parameter["name"] for call in calls.values() for parameter in call.get("parameters", [])
    }
    assert set(FIELD_WORDS) - fields - parameters == set()


def test_every_call_has_an_example_of_what_it_takes_and_gives(calls: Calls) -> None:
    assert set(EXAMPLES) == set(calls)
    for name, call in calls.items():
        for place in [*call["responses"].values(), call.get("requestBody", {})]:
            assert all("example" in content for content in contents(place)), name
        for parameter in call.get("parameters", []):
            assert "example" in parameter or not parameter["required"], name


def test_examples_have_the_shapes_that_they_are_examples_of(document: Json, calls: Calls) -> None:
    for name, call in calls.items():
        for place in [*call["responses"].values(), call.get("requestBody", {})]:
            for content in contents(place):
                schema = {**content["schema"], "components": document["components"]}
                jsonschema_rs.Draft202012Validator(schema).validate(content["example"])
        example = EXAMPLES[name]
        query = example.request if isinstance(example.request, dict) else {}
        named = {parameter["name"] for parameter in call.get("parameters", [])}
        assert name.startswith("POST") or set(query) <= named


@pytest.mark.promise("P9")
def test_every_call_names_the_refusals_that_it_can_give(calls: Calls) -> None:
    for name, call in calls.items():
        answers = call["responses"]
        path = name.split()[1]
        assert ("401" in answers) == (path not in OPEN_PATHS), name
        assert ("400" in answers) == bool("requestBody" in call or call.get("parameters")), name
        assert "500" in answers
        for status, answer in answers.items():
            shapes = [content["schema"].get("$ref", "") for content in contents(answer)]
            if status != "200" and (status, path) != ("500", "/health"):
                assert shapes == ["#/components/schemas/Problem"], (name, status)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_answered_as_the_document_says(
    rig: HttpRig, calls: Calls, name: str
) -> None:
    method, path = name.split()
    request = EXAMPLES[name].request
    if method == "GET":
        status = rig.status_of(path, **cast(Json, request or {}))
    else:
        status, _ = rig.post(path, request)
    assert str(status) in calls[name]["responses"]
    assert status < 500
