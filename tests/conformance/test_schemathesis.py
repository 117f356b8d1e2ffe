"""The whole stack keeps to its own description: requests made from the schema, answers checked against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from orchestrator.access import make_token
from tests.workbench.rows import make_job, make_staff, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

EXCLUDED = [
    # A well-formed name may still be nobody's, which is 400 by contract and not to be seen in a schema.
    positive_data_acceptance,
    # Sends its own bad token beside our good one; tests/api/orchestrator/test_access.py tries bad ones.
    ignored_auth,
]
SEED = 20260731
EXAMPLES = 3

schema = schemathesis.openapi.from_wsgi("/api/schema", WSGIHandler())


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Keep the test's transaction open from request to request, as Django's own test client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def headers(settings: Any, db: None) -> dict[str, str]:
    """Somebody who may do everything, at a desk that asks who it is."""
    settings.API_ACCESS = "token"
    _, text = make_token(make_staff(), name="conformance", scopes=["user", "service"])
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def job_id(db: None) -> str:
    """Something that is there: a job with a failed item and a finished one."""
    job = make_job([{}, {"do": "permanent"}])
    work()
    return str(job.job_id)


@schema.parametrize()
@hypothesis.seed(SEED)
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
def test_the_api_keeps_to_its_description(case: Any, headers: dict[str, str], job_id: str) -> None:
    if "job_id" in (case.path_parameters or {}):
        case.path_parameters["job_id"] = job_id

    case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)
