"""What ``why`` says of the time to come."""

from __future__ import annotations

from datetime import timedelta

from prefect_instances.libs.core.diagnosis import diagnose_each
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene


def test_a_time_that_has_passed_is_no_time_at_which_it_goes_on() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("B")
    scene.backend.now += timedelta(hours=1)

    found = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")].chain[0]

    assert found.next_at is None
    assert "a worker must be running" in found.remedy
