"""The whole HTTP API under inputs that a machine makes up from its own description."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from served.running import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EXAMPLES = 25
"""Made-up requests for each operation: more find more, and CI has other things to do as well."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("openapi")) as registry:
        wish = {"namespace": "team", "name": "sql"}
        assert registry.client.post("/api/v1/repositories", json=wish).status_code == 201
        yield registry


def test_made_up_requests_meet_no_server_error_and_answers_as_described(served: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    broken, statuses = [], set[int]()
    for found in schema.get_all_operations():
        assert not isinstance(found, Err)
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(), booleans())
        def send(case: Case[Any], is_there: bool) -> None:  # noqa: FBT001 - given calls by position
            # A made-up name is never that of a repository which is there.
            if is_there and "name" in case.path_parameters:
                case.path_parameters.update(namespace="team", name="sql")
            answer = case.call_and_validate(
                headers={"Authorization": f"Bearer {served.token}"},
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    content_type_conformance,
                    response_schema_conformance,
                ],
            )
            statuses.add(answer.status_code)

        try:
            send()
        except FailureGroup as group:
            broken += [f"{operation.label}: {failure}" for failure in group.exceptions]
    assert not broken, "\n\n".join(broken)
    # The requests got as far as being answered, refused, and not understood.
    assert statuses >= {200, 201, 404, 422}
