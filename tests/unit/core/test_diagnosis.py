"""What ``why`` says of the time to come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from prefect_instances.libs.core.diagnosis import diagnose_each
from prefect_instances.libs.core.status import Cause, RunStatus
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene, wish


def test_a_time_that_has_passed_is_no_time_at_which_it_goes_on() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("B")
    scene.backend.now += timedelta(hours=1)

    found = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")].chain[0]

    assert found.next_at is None
    assert "a worker must be running" in found.remedy


def test_a_paused_instance_waits_for_a_person_and_for_no_upstream() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.pause("B")
    scene.ask("B")
    assert scene.blocked_by("B") == ["A"]

    (found,) = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")].chain

    assert found.waits_for == ()
    assert (found.why, found.next_at) == ("the instance is paused", None)
    assert found.remedy.startswith("`instances resume ")


def test_a_slot_to_come_of_a_paused_instance_is_no_time_at_which_it_goes_on() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=True, due_in=1)
    later = scene.flow("A").next_due_at

    def find_next() -> datetime | None:
        return diagnose_each(scene.draft(), [flow_id("A")])[flow_id("A")].chain[0].next_at

    assert later is not None
    assert find_next() == later
    scene.pause("A")
    assert find_next() is None


def test_a_flow_that_may_run_now_does_not_wait_for_its_retry() -> None:
    scene = Scene.ready(chain())
    scene.backend.retry = replace(scene.backend.retry, failed=1, failed_delay=timedelta(hours=6))
    scene.begin("B", wish())
    scene.end("B", RunStatus.FAILED)
    (waiting,) = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")].chain
    assert waiting.next_at == scene.now + timedelta(hours=6)

    scene.run("A")

    (found,) = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")].chain
    assert found.next_at is None
    assert found.why == "a run has been requested"
