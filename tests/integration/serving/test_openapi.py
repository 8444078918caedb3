from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .processes import RunningReplica

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_the_schema_allows_or_forbids_gets_a_documented_answer(
    shared_replica: RunningReplica, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_url(f"{shared_replica.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) == 7
    takes_input = [operation for operation in operations if len(operation.body)]
    assert len(takes_input) == 3
    # A request without parameters cannot be made wrong.
    for operation in takes_input if mode is GenerationMode.NEGATIVE else operations:
        fuzz(operation, mode)


def fuzz(operation: schemathesis.APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
    @settings(max_examples=12, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def every_case_is_documented(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    every_case_is_documented()
