"""What a success publishes, whom it makes stale, and which gates it opens."""

from __future__ import annotations

from datetime import date

import pytest

from prefect_instances.libs.core.commands import Blocked, Output
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import FlowStatus, Lifecycle, Reason, Require, RunStatus
from prefect_instances.libs.core.transitions import STARVED_AFTER
from tests.property.graphs import (
    EdgeSpec,
    FlowSpec,
    Graph,
    chain,
    diamond,
    fan_out,
    model,
    of_pairs,
    unbalanced_diamond,
)
from tests.property.scene import Scene, wish

NEVER, RUNNING, READY, STALE, ERROR = (
    FlowStatus.NOT_INITIALIZED,
    FlowStatus.RUNNING,
    FlowStatus.READY,
    FlowStatus.STALE,
    FlowStatus.ERROR,
)


class TestRecord:
    def test_generation_version_and_hash_are_the_outputs(self) -> None:
        scene = Scene(chain())
        run = scene.run("A")
        flow, ended = scene.flow("A"), scene.backend.state.runs[run.id]
        assert (flow.generation, flow.version_id) == (1, ended.output_version)
        assert flow.content_hash == str(flow.version_id)
        assert (flow.running, flow.last_run_id, flow.last_ready_at) == (None, run.id, scene.now)
        assert flow.consumed_config_version == 1

    def test_the_run_is_over_with_its_opening_and_request(self) -> None:
        scene = Scene(chain())
        scene.ask("A")
        run = scene.run("A")
        ended = scene.backend.state.runs[run.id]
        assert (ended.status, ended.ended_at, ended.lease_until) == (
            RunStatus.COMPLETED,
            scene.now,
            None,
        )
        assert ended.opening_id is not None
        assert scene.backend.state.openings[ended.opening_id].status is OpeningStatus.DONE
        assert scene.pending("A") is None

    def test_the_pinned_generation_is_consumed_not_the_newest(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        scene.begin("B")
        scene.run("A")
        scene.finish("B")
        assert scene.edge("A", "B").consumed == 2
        assert scene.flow("A").generation == 3

    def test_the_newest_date_stays_if_a_run_has_none(self) -> None:
        scene = Scene(chain())
        dates = []
        for newest in (date(2026, 1, 5), None, date(2026, 1, 6)):
            run = scene.begin("A", wish())
            scene.backend.succeed(run.id, Output(run.id, str(run.id), newest))
            dates.append(scene.flow("A").last_data_date)
        assert dates == [date(2026, 1, 5), date(2026, 1, 5), date(2026, 1, 6)]

    def test_a_run_that_lost_its_claim_publishes_nothing(self) -> None:
        scene = Scene.ready(chain())
        run = scene.begin("B", wish())
        scene.end("B", RunStatus.CRASHED)
        before = scene.backend.state
        with pytest.raises(Interrupted):
            scene.backend.succeed(run.id, Output(run.id, "x"))
        assert scene.backend.state == before

    def test_a_success_is_not_recorded_twice(self) -> None:
        scene = Scene(chain())
        run = scene.run("A")
        with pytest.raises(Interrupted):
            scene.backend.succeed(run.id, Output(run.id, "x"))
        assert scene.flow("A").generation == 1

    def test_a_zombie_does_not_end_the_run_that_took_its_place(self) -> None:
        scene = Scene.ready(chain())
        zombie = scene.begin("B", wish())
        scene.end("B", RunStatus.CRASHED)
        successor = scene.begin("B")
        with pytest.raises(Interrupted):
            scene.backend.succeed(zombie.id, Output(zombie.id, "x"))
        assert scene.flow("B").running == successor.id


class TestReadyRule:
    def test_ready_when_current_with_every_upstream(self) -> None:
        scene = Scene.ready(diamond())
        for name in ("A", "B", "C", "D"):
            scene.run(name)
        assert scene.state_of("D") == (READY, Reason.RUN_SUCCEEDED)

    def test_stale_and_due_when_upstream_advanced_meanwhile(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.run("A")
        scene.finish("B")
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.openings_told() == ["B"]

    @pytest.mark.parametrize("status", [RUNNING, STALE, ERROR])
    def test_stale_when_upstream_is_not_ready_at_the_same_generation(
        self, status: FlowStatus
    ) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        if status is STALE:
            scene.reconfigure("A")
        else:
            scene.begin("A", wish())
        if status is ERROR:
            scene.end("A", RunStatus.FAILED)
        assert scene.flow("A").status is status
        scene.finish("B")
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.opening("B") is None

    def test_stale_when_a_distant_ancestor_was_refreshed_meanwhile(self) -> None:
        scene = Scene.ready(unbalanced_diamond())
        scene.begin("D", wish())
        scene.run("A")
        scene.finish("D")
        assert scene.state_of("D") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.opening("D") is None

    def test_ready_whatever_an_upstream_does_that_does_not_trigger(self) -> None:
        scene = Scene.ready(model())
        scene.begin("training", wish())
        scene.run("prices")
        scene.finish("training")
        assert scene.flow("training").status is READY

    def test_stale_when_the_configuration_changed_meanwhile(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.reconfigure("B")
        assert scene.flow("B").status is RUNNING
        scene.finish("B")
        assert scene.state_of("B") == (STALE, Reason.CONFIG_CHANGED)
        assert scene.openings_told() == ["B"]
        scene.run("B")
        assert scene.flow("B").status is READY

    def test_a_changed_configuration_outranks_an_advanced_upstream(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.run("A")
        scene.reconfigure("B")
        scene.finish("B")
        assert scene.state_of("B") == (STALE, Reason.CONFIG_CHANGED)

    def test_delayed_data_publishes_and_is_stale(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("A", wish())
        scene.finish("A", delayed=True)
        assert scene.state_of("A") == (STALE, Reason.SOURCE_DELAYED)
        assert scene.flow("A").generation == 2
        assert scene.opening("B") is None

    def test_delayed_data_without_news_leaves_descendants_ready(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("A", wish())
        scene.finish("A", delayed=True, same=True)
        assert scene.state_of("A") == (STALE, Reason.SOURCE_DELAYED)
        assert scene.flow("A").generation == 1
        assert scene.flow("B").status is READY

    def test_an_advanced_upstream_outranks_delayed_data(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.run("A")
        scene.finish("B", delayed=True)
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)


class TestStarved:
    def test_three_overtaken_runs_in_a_row_starve(self) -> None:
        assert STARVED_AFTER == 3, "the glossary says so"

    def overtake(self, scene: Scene) -> None:
        scene.begin("B", wish())
        scene.run("A")
        scene.finish("B")

    def test_a_flow_that_is_overtaken_again_and_again_says_so_with_the_count(self) -> None:
        scene = Scene.ready(chain())
        reasons = []
        for _ in range(STARVED_AFTER + 1):
            self.overtake(scene)
            reasons.append(scene.flow("B").reason)
        before = [Reason.UPSTREAM_ADVANCED] * (STARVED_AFTER - 1)
        assert reasons == [*before, Reason.STARVED, Reason.STARVED]
        assert str(STARVED_AFTER + 1) in scene.flow("B").detail

    def test_being_ready_once_starts_the_count_anew(self) -> None:
        scene = Scene.ready(chain())
        for _ in range(STARVED_AFTER - 1):
            self.overtake(scene)
        scene.run("B")
        assert (scene.flow("B").status, scene.flow("B").overtaken) == (READY, 0)
        self.overtake(scene)
        assert scene.flow("B").reason is Reason.UPSTREAM_ADVANCED

    def test_a_starved_flow_still_follows(self) -> None:
        scene = Scene.ready(chain())
        for _ in range(STARVED_AFTER):
            self.overtake(scene)
        assert scene.openings_told() == ["B"]
        scene.run("B")
        assert scene.flow("B").status is READY

    def test_a_starved_flow_is_revalidated_too(self) -> None:
        scene = Scene.ready(chain())
        for _ in range(STARVED_AFTER - 1):
            self.overtake(scene)
        scene.begin("B")
        scene.begin("A", wish())
        scene.finish("B")
        assert scene.flow("B").reason is Reason.STARVED
        scene.finish("A", same=True)
        assert scene.state_of("B") == (READY, Reason.REVALIDATED)
        assert scene.flow("B").overtaken == 0


class TestDescendants:
    def test_every_ready_descendant_is_stale_in_the_same_transaction(self) -> None:
        scene = Scene.ready(unbalanced_diamond())
        scene.run("A")
        assert scene.statuses() == {"A": READY, "B": STALE, "C": STALE, "C2": STALE, "D": STALE}
        assert {scene.flow(name).reason for name in ("B", "C", "C2", "D")} == {
            Reason.UPSTREAM_ADVANCED
        }

    @pytest.mark.parametrize("status", [RUNNING, ERROR, NEVER])
    def test_the_walk_goes_through_others_and_leaves_their_status(self, status: FlowStatus) -> None:
        graph = of_pairs("A>B B>C")
        side = EdgeSpec("A", "C")
        graph = Graph(graph.flows, (*graph.edges, side))
        scene = Scene.ready(graph) if status is not NEVER else self.second_never_ran()
        if status is not NEVER:
            scene.begin("B", wish())
        if status is ERROR:
            scene.end("B", RunStatus.FAILED)
        assert (scene.flow("B").status, scene.flow("C").status) == (status, READY)
        scene.run("A")
        assert (scene.flow("B").status, scene.flow("C").status) == (status, STALE)

    @staticmethod
    def second_never_ran() -> Scene:
        """A → B → C, where B never ran and C could do without it until an ancestor advanced."""
        edges = (EdgeSpec("A", "B"), EdgeSpec("B", "C", Require.NONE))
        scene = Scene(Graph((FlowSpec("A"), FlowSpec("B"), FlowSpec("C")), edges))
        scene.run("A")
        scene.begin("C", wish())
        scene.finish("C")
        # READY beside an upstream that never ran cannot come about; an edge added later could.
        scene.backend.decide(
            lambda draft: draft.set_status(scene.flow("C").id, READY, Reason.RUN_SUCCEEDED)
        )
        return scene

    def test_the_walk_goes_through_paused_flows(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("B")
        assert scene.instance("B").lifecycle is Lifecycle.PAUSED
        scene.run("A")
        assert scene.statuses() == {"A": READY, "B": STALE, "C": STALE}

    def test_edges_that_do_not_trigger_are_not_walked(self) -> None:
        scene = Scene.ready(model())
        scene.run("prices")
        assert scene.statuses() == {
            "prices": READY,
            "training": READY,
            "inference": STALE,
            "monitoring": STALE,
        }

    def test_what_is_stale_for_another_reason_keeps_it(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("C")
        scene.reconfigure("C")
        since = scene.flow("C").since
        scene.run("A")
        assert scene.state_of("C") == (STALE, Reason.CONFIG_CHANGED)
        assert scene.flow("C").since == since

    def test_an_ancestor_is_untouched(self) -> None:
        scene = Scene.ready(chain())
        before = scene.flow("A")
        scene.run("B")
        assert scene.flow("A") == before


class TestGates:
    def test_only_direct_downstreams_open(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        assert scene.openings_told() == ["B"]

    def test_each_of_many_opens_once(self) -> None:
        scene = Scene.ready(fan_out())
        scene.run("A")
        assert sorted(scene.openings_told()) == ["D1", "D2", "D3", "D4"]

    def test_an_unbalanced_diamond_waits_for_its_far_side(self) -> None:
        scene = Scene.ready(unbalanced_diamond())
        opened = []
        for name in ("A", "B", "C", "C2"):
            scene.run(name)
            opened.append(scene.openings_told())
        assert [sorted(names) for names in opened] == [["B", "C"], [], ["C2"], ["D"]]
        run = scene.run("D")
        assert [pin.generation for pin in run.pins] == [2, 2]
        assert scene.flow("D").status is READY

    def test_two_overlapping_refreshes_give_matching_inputs_and_lose_nothing(self) -> None:
        scene = Scene.ready(unbalanced_diamond())
        scene.run("A")
        scene.run("B")
        scene.run("C")
        scene.run("A")
        assert isinstance(scene.start("C2"), Blocked)
        assert scene.opening("D") is None
        for name in ("B", "C", "C2", "D"):
            scene.run(name)
        assert set(scene.statuses().values()) == {READY}
        assert scene.flow("D").generation == 2

    def test_whoever_required_only_data_goes_on_while_upstream_is_stale(self) -> None:
        edges = (EdgeSpec("A", "B", Require.DATA),)
        scene = Scene.ready(Graph((FlowSpec("A"), FlowSpec("B")), edges))
        scene.begin("A", wish())
        scene.finish("A", delayed=True)
        assert scene.openings_told() == ["B"]
        scene.run("B")
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)

    def test_forced_runs_beside_a_broken_upstream_are_overtaken_by_nobody(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("A", wish())
        scene.end("A", RunStatus.FAILED)
        for _ in range(STARVED_AFTER):
            scene.run("B", force=True)
        assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
        assert scene.flow("B").overtaken == 0
