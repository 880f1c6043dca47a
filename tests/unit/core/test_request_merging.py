"""Two pending requests of a flow become one that keeps neither waiting."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from prefect_instances.libs.core.records import Request, RunParameters
from prefect_instances.libs.core.requests import store_request
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.backend import EPOCH
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene


def request(number: int, hours: int, retries: int) -> Request:
    """A request of B that waits for some hours, after some retries."""
    start = EPOCH + timedelta(hours=hours)
    flow = flow_id("B")
    return Request(
        UUID(int=number), flow, Cause.MANUAL, RunParameters(), EPOCH, start, retries=retries
    )


@pytest.mark.parametrize("later_first", [True, False])
def test_a_merged_request_starts_early_and_has_every_retry_left(later_first: bool) -> None:
    draft = Draft(Scene.ready(chain()).backend.snapshot(), EPOCH)
    made = [request(1, hours=2, retries=1), request(2, hours=1, retries=0)]
    for one in made if later_first else reversed(made):
        store_request(draft, one)

    pending = draft.pending_request(flow_id("B"))

    assert pending is not None
    assert pending.not_before == EPOCH + timedelta(hours=1)
    assert pending.retries == 0
