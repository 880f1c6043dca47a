"""Starting a run: claim, check the gate now, pin the inputs; or say why not."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped, Started
from prefect_instances.libs.core.records import OpeningStatus, RequestStatus
from prefect_instances.libs.core.status import Cause, FlowStatus, Mode, Reason, RunStatus
from tests.property.graphs import chain, diamond, flow_id
from tests.property.scene import Scene, wish

ERROR, READY, RUNNING, STALE = (
    FlowStatus.ERROR,
    FlowStatus.READY,
    FlowStatus.RUNNING,
    FlowStatus.STALE,
)


@pytest.fixture
def opened() -> Scene:
    """A → B → C with new output of A, for which B's gate has opened."""
    scene = Scene.ready(chain())
    scene.run("A")
    return scene


class TestClaim:
    def test_the_run_pins_generation_and_version_of_every_upstream(self) -> None:
        scene = Scene.ready(diamond())
        for name in ("A", "B", "C"):
            scene.run(name)
        run = scene.begin("D")
        upstreams = {name: scene.flow(name) for name in ("B", "C")}
        assert {(p.upstream, p.generation, p.version_id) for p in run.pins} == {
            (up.id, 2, up.version_id) for up in upstreams.values()
        }
        assert (run.config_version, run.cause, run.status) == (1, Cause.GATE, RunStatus.RUNNING)

    def test_the_flow_is_running_by_this_run(self, opened: Scene) -> None:
        run = opened.begin("B")
        flow = opened.flow("B")
        assert (flow.status, flow.reason, flow.running) == (RUNNING, Reason.RUN_STARTED, run.id)
        assert flow.last_run_id == run.id
        claimed = opened.backend.state.openings[run.opening_id or run.id]
        assert (claimed.status, claimed.claimed_by) == (OpeningStatus.CLAIMED, run.id)

    def test_only_the_first_of_many_flow_runs_for_an_opening_works(self, opened: Scene) -> None:
        opening = opened.opening_of("B")
        answers = [opened.start("B", opening=opening.id) for _ in range(10)]
        assert [type(answer) for answer in answers] == [Started] + [Skipped] * 9

    @pytest.mark.parametrize("same", [False, True], ids=["published", "cut-off"])
    def test_an_event_that_arrives_after_the_work_is_skipped(
        self, opened: Scene, same: bool
    ) -> None:
        opening = opened.opening_of("B")
        opened.run("B", same=same)
        before = opened.backend.state
        assert isinstance(opened.start("B", opening=opening.id), Skipped)
        assert opened.backend.state == before
        assert opened.told == []

    def test_a_claim_is_reentrant_for_its_own_flow_run(self, opened: Scene) -> None:
        opening = opened.opening_of("B").id
        first = opened.start("B", opening=opening, prefect="p")
        opened.run("A")
        again = opened.start("B", opening=opening, prefect="p")
        assert isinstance(first, Started)
        assert isinstance(again, Started)
        assert again.run == first.run
        assert opened.told == []

    @pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CRASHED, RunStatus.CANCELLED])
    def test_a_retry_of_a_run_that_ended_badly_asks_for_a_new_one(
        self, opened: Scene, status: RunStatus
    ) -> None:
        opening = opened.opening_of("B").id
        opened.start("B", opening=opening, prefect="p")
        opened.end("B", status)

        again = opened.start("B", opening=opening, prefect="p")

        assert isinstance(again, AskedAgain)
        assert again.why.startswith(f"this flow run stays {status}")
        assert opened.flow("B").status is ERROR
        assert opened.openings_told() == ["B"]
        assert opened.begin("B").prefect_flow_run_id != opened.prefect_id("p")

    def test_a_retry_of_a_run_that_succeeded_has_nothing_to_do(self, opened: Scene) -> None:
        opening = opened.opening_of("B").id
        opened.start("B", opening=opening, prefect="p")
        opened.finish("B")
        assert isinstance(opened.start("B", opening=opening, prefect="p"), Skipped)
        assert opened.pending("B") is None

    def test_a_superseded_opening_stands_for_the_one_that_replaced_it(self, opened: Scene) -> None:
        old = opened.opening_of("B")
        opened.run("A")
        answer = opened.start("B", opening=old.id)
        assert isinstance(answer, Started)
        assert [pin.generation for pin in answer.run.pins] == [3]
        assert opened.opening("B") is None

    def test_an_opening_that_never_was_is_skipped(self) -> None:
        scene = Scene.ready(chain())
        assert isinstance(scene.start("B", opening=flow_id("nobody")), Skipped)

    def test_the_newest_inputs_are_taken_and_counted(self) -> None:
        scene = Scene.ready(chain())
        scene.ask("B")
        request_opening = scene.opening_of("B")
        scene.run("A")
        answer = scene.start("B", opening=request_opening.id)
        assert isinstance(answer, Started)
        assert (answer.run.pins[0].generation, answer.run.cause) == (2, Cause.GATE)
        scene.finish("B")
        assert scene.edge("A", "B").consumed == 2
        assert scene.opening("B") is None


class TestSkipped:
    def test_beside_a_running_run(self, opened: Scene) -> None:
        first = opened.begin("B")
        assert isinstance(opened.start("B", wish()), Skipped)
        assert opened.flow("B").running == first.id

    def test_what_was_asked_beside_a_run_runs_after_it(self, opened: Scene) -> None:
        opened.begin("B")
        opened.start("B", wish(mode=Mode.FULL))
        opened.finish("B")
        assert opened.openings_told() == ["C", "B"] or opened.openings_told() == ["B", "C"]
        assert opened.begin("B").parameters.mode is Mode.FULL

    def test_while_the_instance_is_paused_and_the_opening_waits(self, opened: Scene) -> None:
        opened.pause("B")
        assert isinstance(opened.start("B"), Skipped)
        assert opened.opening_of("B").status is OpeningStatus.WAITING
        opened.resume("B")
        opening = opened.opening_of("B")
        assert (opening.status, opening.attempt) == (OpeningStatus.OPEN, 2)

    def test_a_request_made_while_paused_is_remembered(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("B")
        assert isinstance(scene.start("B", wish(mode=Mode.FULL)), Skipped)
        scene.resume("B")
        assert scene.openings_told() == ["B"]
        assert scene.begin("B").parameters.mode is Mode.FULL


class TestBlocked:
    def test_a_gate_that_closed_again_blocks_and_names_every_upstream(self) -> None:
        scene = Scene.ready(diamond())
        for name in ("A", "B", "C"):
            scene.run(name)
        scene.begin("B", wish())
        scene.begin("C", wish())
        scene.end("C", RunStatus.FAILED, "no disk")
        answer = scene.start("D")
        assert isinstance(answer, Blocked)
        told = {(b.flow_id, b.status, b.reason, b.since, b.detail) for b in answer.blockers}
        flows = [scene.flow("B"), scene.flow("C")]
        assert told == {(f.id, f.status, f.reason, f.since, f.detail) for f in flows}
        assert scene.flow("D").status is STALE

    def test_the_opening_waits_and_opens_again(self, opened: Scene) -> None:
        opened.begin("A", wish())
        opened.start("B")
        assert opened.opening_of("B").status is OpeningStatus.WAITING
        assert opened.told == []
        opened.finish("A", same=True)
        opening = opened.opening_of("B")
        assert (opening.status, opening.attempt) == (OpeningStatus.OPEN, 2)
        assert opened.openings_told() == ["B"]

    def test_a_request_of_its_own_waits_and_opens(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("A", wish())
        assert isinstance(scene.start("B", wish(Cause.SCHEDULE)), Blocked)
        assert scene.opening("B") is None
        scene.finish("A", same=True)
        assert scene.openings_told() == ["B"]
        run = scene.begin("B")
        assert run.cause is Cause.SCHEDULE

    def test_a_first_run_waits_for_its_upstreams(self) -> None:
        scene = Scene(chain())
        assert isinstance(scene.start("B", wish(Cause.PROVISION)), Blocked)
        scene.run("A")
        assert scene.openings_told() == ["B"]


class TestForce:
    @pytest.mark.parametrize("status", [STALE, ERROR, RUNNING])
    def test_runs_on_the_last_output_of_whatever_status(self, status: FlowStatus) -> None:
        scene = Scene.ready(chain())
        if status is STALE:
            scene.reconfigure("A")
        else:
            scene.begin("A", wish())
        if status is ERROR:
            scene.end("A", RunStatus.FAILED)
        run = scene.begin("B", wish(force=True))
        assert run.parameters.force
        assert run.cause is Cause.MANUAL
        assert [pin.generation for pin in run.pins] == [1]

    def test_not_without_any_output_of_a_required_upstream(self) -> None:
        scene = Scene(chain())
        answer = scene.start("B", wish(force=True))
        assert isinstance(answer, Blocked)
        assert [b.flow_id for b in answer.blockers] == [flow_id("A")]

    def test_never_beside_a_running_one(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        assert isinstance(scene.start("B", wish(force=True)), Skipped)

    def test_ends_stale_where_upstream_is_not_ready(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("A")
        scene.run("B", force=True)
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.flow("B").generation == 2

    def test_ends_ready_where_upstream_is_ready(self) -> None:
        scene = Scene.ready(chain())
        scene.run("B", force=True)
        assert scene.flow("B").status is READY

    def test_a_forced_request_opens_a_shut_gate(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("A")
        scene.ask("B", wish(force=True))
        assert scene.openings_told() == ["B"]
        assert scene.begin("B").parameters.force


class TestCause:
    def test_inputs_started_by_their_opening_are_the_gates(self, opened: Scene) -> None:
        assert opened.begin("B").cause is Cause.GATE

    def test_a_new_configuration_alone_is_the_cause(self) -> None:
        scene = Scene.ready(chain())
        scene.reconfigure("B")
        assert scene.begin("B").cause is Cause.CONFIG

    def test_newer_inputs_count_before_a_new_configuration(self, opened: Scene) -> None:
        opened.reconfigure("B")
        assert opened.begin("B").cause is Cause.GATE

    def test_a_person_who_starts_a_due_flow_is_its_cause(self, opened: Scene) -> None:
        run = opened.begin("B", wish())
        assert run.cause is Cause.MANUAL
        assert opened.opening("B") is None

    def test_the_request_of_a_run_is_claimed_by_it(self) -> None:
        scene = Scene.ready(chain())
        run = scene.begin("B", wish(Cause.SCHEDULE))
        assert run.request_id is not None
        request = scene.backend.state.requests[run.request_id]
        assert (request.status, request.claimed_by) == (RequestStatus.CLAIMED, run.id)
