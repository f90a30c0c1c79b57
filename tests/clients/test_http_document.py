"""The OpenAPI document against a real cluster: its examples, and requests made up from it.

Whatever is asked, the answer has a status and a shape that the document names, and is no fault of
the server. ZMQIM_HTTP_REQUESTS says how many requests are made up (300; `make soak`: 10,000).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from running_cluster import RunningCluster, topology_text
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from zmqim.gateway.http.examples import EXAMPLES

REQUESTS = int(os.environ.get("ZMQIM_HTTP_REQUESTS", "300"))
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [(name, RIGHT) for name in EXAMPLES]
CASES += [(name, WRONG) for name, one in EXAMPLES.items() if one.request is not None]
"""Where nothing is given, nothing can be wrong."""
EACH = -(-REQUESTS // len(CASES))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
Operations = dict[str, APIOperation]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One process of each kind, with every call switched on."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster"), topology_text(bench=True))
    try:
        yield running.up()
    finally:
        running.close()


@pytest.fixture(scope="module")
def operations(cluster: Any) -> Operations:
    """Every call of the document that the cluster serves."""
    schema = schemathesis.openapi.from_url(f"{cluster.http}/docs/openapi.json")
    found = [operation.ok() for operation in schema.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in found}


def ask(case: Case, cluster: Any) -> int:
    """The status of the answer, which the document must name."""
    headers = {"token": cluster.api_key}
    answer = case.call(base_url=cluster.http, headers=headers)
    case.validate_response(answer, checks=CHECKS)
    return answer.status_code


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_of_the_document_is_answered_as_it_says(
    cluster: Any, operations: Operations, name: str
) -> None:
    operation = operations[name]
    call = operation.definition.raw
    query = {one["name"]: one["example"] for one in call.get("parameters", []) if "example" in one}
    if "requestBody" in call:
        body = call["requestBody"]["content"]["application/json"]["example"]
        case = operation.Case(query=query, body=body, media_type="application/json")
    else:
        case = operation.Case(query=query)
    assert ask(case, cluster) < 500


@pytest.mark.promise("P9")
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_whatever_is_asked_the_answer_is_a_documented_one(
    cluster: Any, operations: Operations, name: str, mode: GenerationMode
) -> None:
    @settings(
        max_examples=EACH,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operations[name].as_strategy(mode))
    def run(case: Case) -> None:
        ask(case, cluster)

    run()
