"""Configuration changes, pausing and overdue schedules."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from prefect_instances.libs.core import ids, transitions
from prefect_instances.libs.core.reconfiguration import Reconfiguration, reconfigure
from prefect_instances.libs.core.records import OpeningStatus, Request, RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus, Lifecycle, Reason, RunStatus
from tests.property.graphs import chain, model
from tests.property.scene import Scene, flow_id, wish

ERROR, NEVER, READY, RUNNING, STALE = (
    FlowStatus.ERROR,
    FlowStatus.NOT_INITIALIZED,
    FlowStatus.READY,
    FlowStatus.RUNNING,
    FlowStatus.STALE,
)


class TestReconfigure:
    def test_the_flow_and_its_descendants_are_stale_and_it_is_due(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("B")
        assert scene.state_of("A") == (READY, Reason.RUN_SUCCEEDED)
        assert scene.state_of("B") == (STALE, Reason.CONFIG_CHANGED)
        assert scene.state_of("C") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.openings_told() == ["B"]
        assert scene.opening_of("B").config_version == 2

    def test_the_next_run_uses_the_new_configuration_once(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("B")
        run = scene.run("B")
        assert (run.config_version, run.cause) == (2, Cause.CONFIG)
        assert scene.flow("B").consumed_config_version == 2
        assert scene.flow("B").status is READY
        assert scene.opening("B") is None

    def test_an_output_that_stays_the_same_lifts_the_descendants(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("B")
        scene.run("B", same=True)
        assert scene.statuses() == {"A": READY, "B": READY, "C": READY}

    def test_an_error_stays_and_is_tried_again(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.end("B", RunStatus.FAILED, "boom")
        since = scene.flow("B").since
        scene.reconfigure("B")
        assert scene.state_of("B") == (ERROR, Reason.RUN_FAILED)
        assert scene.flow("B").since == since
        assert scene.flow("C").status is STALE
        assert scene.openings_told() == ["B"]

    def test_a_running_flow_goes_on_and_its_descendants_are_stale(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.reconfigure("B")
        assert scene.statuses() == {"A": READY, "B": RUNNING, "C": STALE}

    def test_a_flow_that_never_ran_is_not_stale(self) -> None:
        scene = Scene(chain())
        scene.reconfigure("A")
        assert scene.statuses() == {"A": NEVER, "B": NEVER, "C": NEVER}

    def test_a_newer_configuration_supersedes_the_opening_of_an_older(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("B")
        old = scene.opening_of("B")
        scene.reconfigure("B")
        assert scene.backend.state.openings[old.id].status is OpeningStatus.SUPERSEDED
        assert scene.opening_of("B").config_version == 3

    def test_a_shut_gate_remembers_that_it_is_due(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("A", wish())
        scene.reconfigure("B")
        assert scene.opening("B") is None
        scene.finish("A", same=True)
        assert scene.openings_told() == ["B"]


class TestPause:
    def test_pausing_changes_no_status_and_stops_nothing_that_runs(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        before = scene.statuses()
        scene.pause("B")
        assert scene.statuses() == before
        assert scene.instance("B").lifecycle is Lifecycle.PAUSED
        assert scene.told == []
        scene.finish("B")
        assert scene.flow("B").status is READY

    def test_a_paused_upstream_that_is_ready_blocks_nobody(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("A")
        scene.ask("B")
        assert scene.openings_told() == ["B"]

    def test_resuming_opens_for_what_came_meanwhile_once(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("B")
        scene.run("A")
        scene.run("A")
        scene.ask("B")
        assert scene.opening("B") is None
        scene.resume("B")
        assert scene.openings_told() == ["B"]
        scene.run("B")
        assert scene.opening("B") is None

    def test_resuming_with_nothing_new_opens_nothing(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("B")
        scene.resume("B")
        assert scene.told == []

    def test_every_flow_of_the_instance_is_paused_and_resumed(self) -> None:
        scene = Scene.ready(model())
        scene.pause("model")
        scene.run("prices")
        scene.ask("training")
        assert scene.openings_told() == []
        scene.resume("model")
        assert sorted(scene.openings_told()) == ["inference", "training"]

    @pytest.mark.parametrize(
        "lifecycle",
        [Lifecycle.PROVISIONING, Lifecycle.PAUSED, Lifecycle.FAILED, Lifecycle.DEPROVISIONING],
    )
    def test_only_active_instances_open(self, lifecycle: Lifecycle) -> None:
        scene = Scene.ready(chain())
        scene.backend.set_lifecycle(scene.instance("B").id, lifecycle)
        scene.run("A")
        scene.ask("B", wish(force=True))
        assert scene.opening("B") is None


class TestPastDue:
    def scheduled(self, due_in: float = 1) -> Scene:
        scene = Scene.ready(chain())
        scene.begin("A", wish(Cause.SCHEDULE))
        scene.finish("A", same=True, due_in=due_in)
        return scene

    def test_a_missed_deadline_is_stale_and_asked_to_catch_up(self) -> None:
        scene = self.scheduled()
        scene.pass_time(2)
        assert scene.state_of("A") == (STALE, Reason.PAST_DUE)
        pending = scene.pending("A")
        assert pending is not None
        assert pending.cause is Cause.SCHEDULE
        assert scene.openings_told() == ["A"]

    def test_descendants_keep_their_status_and_are_blocked(self) -> None:
        scene = self.scheduled()
        scene.pass_time(2)
        assert (scene.flow("B").status, scene.flow("C").status) == (READY, READY)
        assert scene.blocked_by("B") == ["A"]

    @pytest.mark.parametrize("order", ["AB", "BA"])
    def test_of_two_that_are_late_only_the_upper_may_run(self, order: str) -> None:
        scene = Scene.ready(chain())
        for name in "AB":
            scene.begin(name, wish(Cause.SCHEDULE))
            scene.finish(name, same=True, due_in=1)
        scene.backend.now += timedelta(hours=2)
        late = [
            Request(uuid4(), flow_id(name), Cause.SCHEDULE, RunParameters(), *[scene.now] * 2)
            for name in order
        ]
        scene.backend.decide(lambda draft: transitions.mark_past_due(draft, late))
        assert (scene.state_of("A"), scene.state_of("B")) == ((STALE, Reason.PAST_DUE),) * 2
        assert scene.opening_of("A").status is OpeningStatus.OPEN
        assert scene.opening("B") is None
        assert scene.blocked_by("B") == ["A"]

    def test_before_its_deadline_a_flow_is_ready(self) -> None:
        scene = self.scheduled(due_in=3)
        scene.pass_time(2)
        assert scene.flow("A").status is READY
        assert scene.told == []

    def test_a_flow_without_a_deadline_is_never_overdue(self) -> None:
        scene = Scene.ready(chain())
        scene.pass_time(10_000)
        assert set(scene.statuses().values()) == {READY}

    def test_being_overdue_is_said_once(self) -> None:
        scene = self.scheduled()
        scene.pass_time(2)
        since = scene.flow("A").since
        scene.pass_time(2)
        assert scene.told == []
        assert scene.flow("A").since == since

    @pytest.mark.parametrize("status", [RUNNING, ERROR])
    def test_only_ready_flows_become_overdue(self, status: FlowStatus) -> None:
        scene = self.scheduled()
        scene.begin("A", wish())
        if status is ERROR:
            scene.end("A", RunStatus.FAILED)
        scene.pass_time(2)
        assert scene.flow("A").status is status

    def test_a_breach_is_told_whatever_the_status_and_once(self) -> None:
        scene = self.scheduled()
        scene.begin("A", wish())
        scene.end("A", RunStatus.FAILED)
        scene.pass_time(2.5)
        breach = [event for event in scene.told if event.name == ids.SLA_BREACHED]
        assert len(breach) == 1
        assert breach[0].payload["overdue_hours"] == pytest.approx(1.5, abs=0.01)
        due = scene.flow("A").next_due_at
        assert due is not None
        assert breach[0].payload["expected_refresh_at"] == due.isoformat()
        scene.pass_time(2)
        assert scene.told == []

    def test_a_paused_instance_is_not_late_until_it_is_resumed(self) -> None:
        scene = self.scheduled()
        scene.pause("A")
        scene.pass_time(2)
        assert (scene.flow("A").status, scene.told) == (READY, [])
        scene.resume("A")
        scene.pass_time(0)
        assert scene.state_of("A") == (STALE, Reason.PAST_DUE)

    @pytest.mark.parametrize(("hours", "breached"), [(-1, True), (0, False), (1, False)])
    def test_a_new_schedule_keeps_a_breach_only_if_its_deadline_has_passed(
        self, hours: int, breached: bool
    ) -> None:
        scene = self.scheduled()
        scene.pass_time(2)
        assert scene.flow("A").breached
        draft = scene.draft()
        deadline = draft.now + timedelta(hours=hours)
        due = {flow_id("A"): (deadline, deadline)}
        reconfigure(draft, Reconfiguration((flow_id("A"),), (), 1, due))
        assert draft.flows[flow_id("A")].due_deadline == deadline
        assert draft.flows[flow_id("A")].breached is breached

    def test_the_catch_up_makes_it_ready_and_sets_the_next_deadline(self) -> None:
        scene = self.scheduled()
        scene.pass_time(2)
        scene.begin("A")
        scene.finish("A", same=True, due_in=1)
        assert scene.state_of("A") == (READY, Reason.RUN_SUCCEEDED)
        scene.pass_time(2)
        assert scene.state_of("A") == (STALE, Reason.PAST_DUE)
