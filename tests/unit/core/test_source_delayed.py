"""A source that is late: said, asked again as the policy says, and never fed on as if new."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prefect_instances.libs.core.commands import RetryPolicy, Skipped
from prefect_instances.libs.core.status import Cause, FlowStatus, Reason, RunStatus
from tests.property.graphs import chain
from tests.property.scene import Scene, wish

READY, STALE = FlowStatus.READY, FlowStatus.STALE
TWICE = RetryPolicy(failed=2, failed_delay=timedelta(minutes=10))


def late(*, same: bool, retry: RetryPolicy = TWICE) -> Scene:
    """A → B → C, READY; then A ran by its schedule and its source was late."""
    scene = Scene.ready(chain(), retry)
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=same, delayed=True, due_in=24)
    return scene


def test_without_newer_data_nothing_is_published_and_nobody_is_fed() -> None:
    scene = late(same=True)
    assert scene.state_of("A") == (STALE, Reason.SOURCE_DELAYED)
    assert scene.flow("A").generation == 1
    assert (scene.flow("B").status, scene.flow("C").status) == (READY, READY)
    assert scene.blocked_by("B") == ["A"]
    assert scene.openings_told() == ["A"]


def test_with_partly_newer_data_it_publishes_and_is_still_late() -> None:
    scene = late(same=False)
    assert scene.state_of("A") == (STALE, Reason.SOURCE_DELAYED)
    assert scene.flow("A").generation == 2
    assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
    assert scene.opening("B") is None


@pytest.mark.parametrize("same", [True, False])
def test_it_recovers_by_itself_when_the_source_catches_up(same: bool) -> None:
    scene = late(same=same)
    retry = scene.begin("A")
    assert (retry.cause, retry.retries) == (Cause.RETRY, 1)
    scene.finish("A", due_in=24)
    assert scene.state_of("A") == (READY, Reason.RUN_SUCCEEDED)
    assert scene.openings_told() == ["B"]
    scene.run("B")
    assert scene.flow("B").status is READY


def test_it_is_asked_again_after_the_pause_and_as_often_as_the_policy_says() -> None:
    scene = late(same=True)
    for retries in (1, 2):
        assert scene.opening_of("A").not_before == scene.now + TWICE.failed_delay
        assert isinstance(scene.start("A", opening=scene.opening_of("A").id), Skipped)
        assert scene.begin("A").retries == retries
        scene.finish("A", same=True, delayed=True)
    assert scene.pending("A") is None
    assert scene.state_of("A") == (STALE, Reason.SOURCE_DELAYED)


def test_what_was_due_stays_due_until_the_data_are_there() -> None:
    scene = Scene.ready(chain(), TWICE)
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=True, due_in=24)
    due = scene.flow("A").next_due_at
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=True, delayed=True, due_in=48)
    assert scene.flow("A").next_due_at == due
    scene.begin("A")
    scene.finish("A", due_in=48)
    later = scene.flow("A").next_due_at
    assert due is not None
    assert later is not None
    assert later > due


def test_it_is_judged_by_dates() -> None:
    scene = late(same=True)
    assert "are due" in scene.flow("A").detail


class TestBackOff:
    def waiting(self) -> Scene:
        scene = Scene.ready(chain(), TWICE)
        scene.begin("A", wish())
        scene.end("A", RunStatus.CRASHED)
        return scene

    def test_an_event_that_comes_twice_starts_nothing_early(self) -> None:
        scene = self.waiting()
        answer = scene.start("A", opening=scene.opening_of("A").id)
        assert isinstance(answer, Skipped)
        assert "early" in answer.why
        assert scene.opening("A") is not None
        scene.begin("A")

    @pytest.mark.parametrize("end", [RunStatus.CRASHED, RunStatus.FAILED])
    def test_who_asks_meanwhile_does_not_wait_for_it(self, end: RunStatus) -> None:
        scene = Scene.ready(chain(), TWICE)
        scene.run("A")
        scene.begin("B")
        scene.end("B", end)
        assert scene.opening_of("B").not_before > scene.now
        scene.ask("B")
        assert scene.openings_told() == ["B"]
        assert scene.opening_of("B").not_before <= scene.now

    def test_a_schedule_that_fires_meanwhile_does_the_work(self) -> None:
        scene = self.waiting()
        run = scene.begin("A", wish(Cause.SCHEDULE))
        assert run.cause is Cause.SCHEDULE
        assert scene.opening("A") is None

    def test_what_was_asked_during_a_run_that_crashed_waits_with_it(self) -> None:
        scene = Scene.ready(chain(), TWICE)
        scene.begin("A", wish())
        scene.ask("A")
        scene.end("A", RunStatus.CRASHED)
        assert scene.opening_of("A").not_before > scene.now
