"""Failures, crashes and cancellations: what they leave untouched and what is repeated."""

from __future__ import annotations

from datetime import timedelta

import pytest

from prefect_instances.libs.core.commands import RetryPolicy
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.records import OpeningStatus, RequestStatus, Run
from prefect_instances.libs.core.status import Cause, FlowStatus, Mode, Reason, RunStatus
from tests.property.graphs import chain, of_pairs
from tests.property.scene import Scene, wish

ERROR, READY, STALE = FlowStatus.ERROR, FlowStatus.READY, FlowStatus.STALE
BAD = [RunStatus.FAILED, RunStatus.CRASHED, RunStatus.CANCELLED]
REASONS = {
    RunStatus.FAILED: Reason.RUN_FAILED,
    RunStatus.CRASHED: Reason.RUN_CRASHED,
    RunStatus.CANCELLED: Reason.RUN_CANCELLED,
}
NEVER_AGAIN = RetryPolicy(failed=0, crashed=0)


def running(retry: RetryPolicy = NEVER_AGAIN) -> tuple[Scene, Run]:
    """A → B → C, all READY, then A published and B runs for that."""
    scene = Scene.ready(chain(), retry)
    scene.run("A")
    return scene, scene.begin("B")


@pytest.mark.parametrize("status", BAD)
class TestAnyBadEnd:
    def test_is_an_error_with_its_reason_and_text(self, status: RunStatus) -> None:
        scene, run = running()
        scene.end("B", status, "disk full")
        flow = scene.flow("B")
        assert (flow.status, flow.reason, flow.detail) == (ERROR, REASONS[status], "disk full")
        assert (flow.running, flow.since) == (None, scene.now)
        ended = scene.backend.state.runs[run.id]
        assert (ended.status, ended.error, ended.ended_at) == (status, "disk full", scene.now)

    def test_leaves_output_and_consumed_as_they_were(self, status: RunStatus) -> None:
        scene, _ = running()
        before = scene.flow("B")
        scene.end("B", status)
        after = scene.flow("B")
        assert (after.generation, after.version_id) == (before.generation, before.version_id)
        assert scene.edge("A", "B").consumed == 1

    def test_changes_nobody_elses_status_but_blocks_below(self, status: RunStatus) -> None:
        scene = Scene.ready(of_pairs("A>B B>C A>X"), NEVER_AGAIN)
        scene.begin("B", wish())
        before = scene.statuses()
        scene.end("B", status)
        assert scene.statuses() == {**before, "B": ERROR}
        assert scene.blocked_by("C") == ["B"]
        assert scene.blocked_by("X") == []

    def test_without_retries_nothing_is_left_to_do(self, status: RunStatus) -> None:
        scene, run = running()
        scene.end("B", status)
        assert scene.opening("B") is None
        assert scene.pending("B") is None
        assert scene.openings_told() == []
        assert run.opening_id is not None
        assert scene.backend.state.openings[run.opening_id].status is OpeningStatus.DONE

    def test_of_a_run_that_has_ended_is_refused(self, status: RunStatus) -> None:
        scene, run = running()
        scene.finish("B")
        before = scene.backend.state
        with pytest.raises(Interrupted):
            scene.backend.end_badly(run.id, status, "too late")
        assert scene.backend.state == before

    def test_newer_inputs_meanwhile_open_the_gate(self, status: RunStatus) -> None:
        scene, _ = running()
        scene.run("A")
        scene.end("B", status)
        assert scene.openings_told() == ["B"]
        scene.run("B")
        assert scene.flow("B").status is READY

    def test_a_request_made_meanwhile_runs(self, status: RunStatus) -> None:
        scene, _ = running()
        scene.ask("B", wish(mode=Mode.FULL))
        scene.end("B", status)
        assert scene.openings_told() == ["B"]
        assert scene.begin("B").parameters.mode is Mode.FULL

    def test_of_a_paused_flow_waits_for_it_to_be_resumed(self, status: RunStatus) -> None:
        scene, _ = running(RetryPolicy(failed=1, crashed=1))
        scene.pause("B")
        scene.end("B", status)
        assert scene.openings_told() == []
        scene.resume("B")
        assert scene.openings_told() == ([] if status is RunStatus.CANCELLED else ["B"])


class TestCrash:
    def test_gives_its_opening_back_with_one_more_attempt(self) -> None:
        scene, run = running(RetryPolicy(crashed=2, crashed_delay=timedelta(seconds=5)))
        scene.end("B", RunStatus.CRASHED)
        opening = scene.opening_of("B")
        assert opening.id == run.opening_id
        assert (opening.status, opening.attempt, opening.crashes) == (OpeningStatus.OPEN, 2, 1)
        assert opening.claimed_by is None
        assert opening.not_before == scene.now + timedelta(seconds=5)
        assert scene.openings_told() == ["B"]

    def test_pauses_twice_as_long_each_time_and_gives_up(self) -> None:
        scene, _ = running(RetryPolicy(crashed=3, crashed_delay=timedelta(seconds=5)))
        pauses = []
        for _ in range(3):
            scene.end("B", RunStatus.CRASHED)
            pauses.append((scene.opening_of("B").not_before - scene.now).total_seconds())
            scene.begin("B")
        scene.end("B", RunStatus.CRASHED)
        assert pauses == [5, 10, 20]
        assert scene.opening("B") is None
        assert scene.state_of("B") == (ERROR, Reason.RUN_CRASHED)

    def test_the_next_inputs_have_a_budget_of_their_own(self) -> None:
        scene, _ = running(RetryPolicy(crashed=1))
        scene.end("B", RunStatus.CRASHED)
        scene.begin("B")
        scene.run("A")
        scene.end("B", RunStatus.CRASHED)
        assert scene.opening_of("B").crashes == 0
        scene.begin("B")
        scene.end("B", RunStatus.CRASHED)
        assert scene.opening_of("B").crashes == 1

    def test_gives_its_request_back_with_its_parameters(self) -> None:
        scene = Scene.ready(chain(), RetryPolicy(crashed=1))
        run = scene.begin("B", wish(Cause.SCHEDULE, mode=Mode.FULL))
        scene.end("B", RunStatus.CRASHED)
        pending = scene.pending("B")
        assert pending is not None
        assert (pending.id, pending.claimed_by) == (run.request_id, None)
        again = scene.begin("B")
        assert (again.parameters, again.cause) == (run.parameters, Cause.SCHEDULE)

    def test_what_was_asked_meanwhile_takes_the_request_in(self) -> None:
        scene = Scene.ready(chain(), RetryPolicy(crashed=1))
        run = scene.begin("B", wish(mode=Mode.FULL))
        scene.ask("B", wish(force=True))
        scene.end("B", RunStatus.CRASHED)
        pending = scene.pending("B")
        assert pending is not None
        assert (pending.parameters.mode, pending.parameters.force) == (Mode.FULL, True)
        assert run.request_id is not None
        assert scene.backend.state.requests[run.request_id].status is RequestStatus.DONE
        scene.run("B")
        assert scene.pending("B") is None
        assert scene.opening("B") is None

    def test_what_was_asked_before_it_waits_for_the_pause_and_what_is_asked_after_does_not(
        self,
    ) -> None:
        scene, _ = running(RetryPolicy(crashed=1, crashed_delay=timedelta(seconds=5)))
        scene.ask("B", wish(mode=Mode.FULL))
        scene.end("B", RunStatus.CRASHED)
        pending = scene.pending("B")
        assert pending is not None
        assert pending.not_before == scene.now + timedelta(seconds=5)
        assert scene.opening_of("B").not_before == scene.now + timedelta(seconds=5)
        scene.ask("B", wish())
        assert scene.opening_of("B").not_before <= scene.now

    def test_waits_where_the_gate_has_closed_meanwhile(self) -> None:
        scene, _ = running(RetryPolicy(crashed=1))
        scene.begin("A", wish())
        scene.end("B", RunStatus.CRASHED)
        assert scene.opening_of("B").status is OpeningStatus.WAITING
        assert scene.openings_told() == []
        scene.finish("A", same=True)
        assert scene.openings_told() == ["B"]


class TestFailure:
    policy = RetryPolicy(failed=2, failed_delay=timedelta(minutes=3))

    def test_is_repeated_by_request_after_a_pause(self) -> None:
        scene, _ = running(self.policy)
        scene.end("B", RunStatus.FAILED)
        pending = scene.pending("B")
        assert pending is not None
        assert (pending.cause, pending.retries) == (Cause.RETRY, 1)
        assert pending.not_before == scene.now + timedelta(minutes=3)
        assert scene.opening_of("B").not_before == pending.not_before
        assert scene.openings_told() == ["B"]

    def test_is_repeated_with_its_own_parameters(self) -> None:
        scene = Scene.ready(chain(), self.policy)
        run = scene.begin("B", wish(mode=Mode.FULL, force=True))
        scene.end("B", RunStatus.FAILED)
        assert scene.begin("B").parameters == run.parameters

    def test_is_repeated_as_often_as_the_policy_says(self) -> None:
        scene, _ = running(self.policy)
        for retries in (1, 2):
            scene.end("B", RunStatus.FAILED)
            assert scene.begin("B").retries == retries
        scene.end("B", RunStatus.FAILED)
        assert scene.pending("B") is None
        assert scene.opening("B") is None

    def test_a_retry_that_succeeds_is_ready(self) -> None:
        scene, _ = running(self.policy)
        scene.end("B", RunStatus.FAILED)
        scene.run("B")
        assert scene.flow("B").status is READY
        scene.begin("B", wish())
        scene.end("B", RunStatus.FAILED)
        pending = scene.pending("B")
        assert pending is not None
        assert pending.retries == 1

    def test_what_was_asked_meanwhile_is_the_newer_word(self) -> None:
        scene = Scene.ready(chain(), self.policy)
        scene.begin("B", wish(mode=Mode.FULL))
        scene.ask("B", wish(force=True))
        scene.end("B", RunStatus.FAILED)
        pending = scene.pending("B")
        assert pending is not None
        assert (pending.parameters.mode, pending.parameters.force) == (Mode.FULL, True)
        assert (pending.cause, pending.retries) == (Cause.MANUAL, 0)
        assert pending.not_before <= scene.now


def test_a_cancelled_run_is_not_repeated() -> None:
    scene = Scene.ready(chain(), RetryPolicy(failed=5, crashed=5))
    scene.begin("B", wish())
    scene.end("B", RunStatus.CANCELLED)
    assert scene.pending("B") is None
    assert scene.opening("B") is None
