"""When a gate is open, when a flow is due, and what an opening is unique by."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import FlowStatus, Mode, Reason, Require, RunStatus
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.backend import EPOCH
from tests.property.graphs import (
    EdgeSpec,
    FlowSpec,
    Graph,
    chain,
    diamond,
    edge_id,
    flow_id,
    mixed_cadences,
    model,
    region_of,
)
from tests.property.scene import Scene, wish

NEVER, RUNNING, READY, STALE, ERROR = (
    FlowStatus.NOT_INITIALIZED,
    FlowStatus.RUNNING,
    FlowStatus.READY,
    FlowStatus.STALE,
    FlowStatus.ERROR,
)


def one_edge(require: Require = Require.READY, *, triggers: bool = True) -> Graph:
    edge = EdgeSpec("up", "down", require, triggers)
    return Graph((FlowSpec("up"), FlowSpec("down")), (edge,))


def upstream_is(status: FlowStatus, generation: int, graph: Graph) -> Draft:
    region = region_of(graph)
    up = replace(region.flows[flow_id("up")], status=status, generation=generation)
    return Draft(replace(region, flows={**region.flows, up.id: up}), EPOCH)


@pytest.mark.parametrize(
    ("require", "status", "generation", "is_open"),
    [
        pytest.param(Require.READY, READY, 1, True, id="ready-of-ready"),
        pytest.param(Require.READY, STALE, 1, False, id="ready-of-stale"),
        pytest.param(Require.READY, RUNNING, 1, False, id="ready-of-running"),
        pytest.param(Require.READY, ERROR, 1, False, id="ready-of-error"),
        pytest.param(Require.READY, NEVER, 0, False, id="ready-of-never-ran"),
        pytest.param(Require.DATA, ERROR, 1, True, id="data-of-error"),
        pytest.param(Require.DATA, RUNNING, 1, True, id="data-of-running"),
        pytest.param(Require.DATA, RUNNING, 0, False, id="data-of-first-run"),
        pytest.param(Require.DATA, NEVER, 0, False, id="data-of-never-ran"),
        pytest.param(Require.NONE, NEVER, 0, True, id="none-of-never-ran"),
        pytest.param(Require.NONE, ERROR, 0, True, id="none-of-error"),
    ],
)
def test_a_gate_is_open_iff_every_edge_has_what_it_requires(
    require: Require, status: FlowStatus, generation: int, is_open: bool
) -> None:
    draft = upstream_is(status, generation, one_edge(require))
    assert (gate.find_blockers(draft, flow_id("down")) == ()) is is_open


def test_a_source_is_always_open() -> None:
    assert gate.find_blockers(Scene(chain()).draft(), flow_id("A")) == ()


def test_a_blocker_says_who_why_and_since_when() -> None:
    scene = Scene.ready(diamond())
    scene.begin("B", wish())
    scene.end("B", RunStatus.FAILED, "no such column")
    (blocker,) = gate.find_blockers(scene.draft(), flow_id("D"))
    assert (blocker.flow_id, blocker.instance, blocker.kind) == (flow_id("B"), "B", "refresh")
    assert (blocker.status, blocker.reason) == (ERROR, Reason.RUN_FAILED)
    assert (blocker.since, blocker.detail) == (scene.now, "no such column")
    assert "no such column" in str(blocker)


@pytest.mark.parametrize(
    ("force", "require", "generation", "is_open"),
    [
        pytest.param(True, Require.READY, 1, True, id="forced-on-stale-output"),
        pytest.param(True, Require.READY, 0, False, id="forced-without-any-output"),
        pytest.param(True, Require.DATA, 0, False, id="forced-without-required-data"),
        pytest.param(True, Require.NONE, 0, True, id="forced-needs-nothing-of-none"),
        pytest.param(False, Require.READY, 1, False, id="unforced-on-stale-output"),
    ],
)
def test_force_needs_only_outputs_to_read(
    force: bool, require: Require, generation: int, is_open: bool
) -> None:
    status = STALE if generation else NEVER
    draft = upstream_is(status, generation, one_edge(require))
    scene = Scene(one_edge())
    scene.ask("down", wish(force=force))
    assert (
        gate.check_upstream_freshness(draft, flow_id("down"), scene.pending("down")) == ()
    ) is is_open


@pytest.mark.parametrize(
    ("triggers", "generation", "consumed", "due"),
    [
        pytest.param(True, 0, 0, False, id="nothing-published"),
        pytest.param(True, 1, 0, True, id="first-output"),
        pytest.param(True, 3, 2, True, id="advanced"),
        pytest.param(True, 3, 3, False, id="consumed"),
        pytest.param(False, 3, 0, False, id="does-not-trigger"),
    ],
)
def test_an_advance_over_a_triggering_edge_makes_due(
    triggers: bool, generation: int, consumed: int, due: bool
) -> None:
    graph = one_edge(triggers=triggers)
    draft = upstream_is(READY, generation, graph)
    (edge,) = graph.edges
    id_ = edge_id(edge)
    draft.edges[id_] = replace(draft.edges[id_], consumed=consumed)
    assert gate.due_by_input(draft, flow_id("down")) is due


@pytest.mark.parametrize(
    ("newest", "used", "due"),
    [
        pytest.param(1, 0, False, id="the-first-configuration-runs-on-request"),
        pytest.param(1, 1, False, id="used"),
        pytest.param(2, 1, True, id="newer"),
        pytest.param(2, 0, True, id="changed-before-the-first-run"),
        pytest.param(5, 5, False, id="newest-used"),
    ],
)
def test_a_newer_configuration_makes_due(newest: int, used: int, due: bool) -> None:
    draft = Scene(chain()).draft()
    flow = draft.flows[flow_id("A")]
    draft.flows[flow.id] = replace(flow, config_version=newest, consumed_config_version=used)
    assert gate.due_by_input(draft, flow.id) is due


class TestCauseKeys:
    def test_equal_inputs_have_equal_keys_whatever_their_order(self) -> None:
        assert gate.input_key(1, {"a": 1, "b": 2}) == gate.input_key(1, {"b": 2, "a": 1})

    @pytest.mark.parametrize(
        ("config", "vector"),
        [
            pytest.param(2, {"a": 1, "b": 2}, id="configuration"),
            pytest.param(1, {"a": 2, "b": 2}, id="generation"),
            pytest.param(1, {"a": 2, "b": 1}, id="swapped"),
            pytest.param(1, {"a": 1}, id="an-upstream-less"),
            pytest.param(1, {}, id="no-upstream"),
        ],
    )
    def test_other_inputs_have_another_key(self, config: int, vector: dict[str, int]) -> None:
        assert gate.input_key(config, vector) != gate.input_key(1, {"a": 1, "b": 2})

    def test_a_request_has_a_key_of_its_own(self) -> None:
        scene = Scene(chain())
        scene.ask("A")
        request = scene.pending("A")
        assert request is not None
        assert scene.opening_of("A").cause_key == gate.request_key(request)

    def test_the_key_fits_the_column_that_is_to_hold_it(self) -> None:
        assert len(gate.input_key(10**6, {str(flow_id("A")): 10**9})) <= 80


class TestOpening:
    @pytest.mark.parametrize("status", [NEVER, STALE, ERROR])
    def test_a_gate_opens_whatever_keeps_its_flow_from_ready(self, status: FlowStatus) -> None:
        scene = Scene.ready(chain()) if status is not NEVER else Scene(chain())
        if status is NEVER or status is STALE:
            scene.run("A")
        else:
            scene.begin("B", wish())
            scene.end("B", RunStatus.FAILED)
            scene.run("A")
        assert scene.flow("B").status is status
        assert scene.opening_of("B").status is OpeningStatus.OPEN
        assert scene.openings_told() == ["B"]

    def test_a_running_flow_opens_only_when_it_ends(self) -> None:
        scene = Scene.ready(chain())
        scene.begin("B", wish())
        scene.run("A")
        assert scene.opening("B") is None
        scene.finish("B")
        assert scene.openings_told() == ["B"]

    def test_a_paused_flow_opens_only_when_resumed(self) -> None:
        scene = Scene.ready(chain())
        scene.pause("B")
        scene.run("A")
        assert scene.opening("B") is None
        scene.resume("B")
        assert scene.openings_told() == ["B"]

    def test_a_diamond_opens_once_both_sides_are_ready(self) -> None:
        scene = Scene.ready(diamond())
        scene.run("A")
        scene.run("B")
        assert scene.opening("D") is None
        scene.run("C")
        assert scene.openings_told() == ["D"]

    def test_the_opening_names_its_inputs(self) -> None:
        scene = Scene.ready(diamond())
        scene.run("A")
        scene.run("B")
        scene.run("C")
        opening = scene.opening_of("D")
        assert opening.vector == {str(flow_id("B")): 2, str(flow_id("C")): 2}
        assert (opening.config_version, opening.request_id, opening.attempt) == (1, None, 1)

    def test_evaluating_again_changes_nothing(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        before = scene.backend.state
        scene.evaluate("B")
        assert scene.backend.state == before
        assert scene.told == []

    def test_a_failed_vector_does_not_open_again(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        scene.begin("B")
        scene.end("B", RunStatus.FAILED)
        scene.evaluate("B")
        assert scene.opening("B") is None

    def test_new_inputs_heal_an_error(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        scene.begin("B")
        scene.end("B", RunStatus.FAILED)
        scene.run("A")
        scene.run("B")
        assert scene.flow("B").status is READY

    def test_a_newer_vector_supersedes_an_unclaimed_opening(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        old = scene.opening_of("B")
        scene.run("A")
        new = scene.opening_of("B")
        assert old.id != new.id
        assert scene.backend.state.openings[old.id].status is OpeningStatus.SUPERSEDED
        assert new.vector == {str(flow_id("A")): 3}

    def test_a_pending_request_joins_the_opening_that_inputs_made(self) -> None:
        scene = Scene.ready(chain())
        scene.run("A")
        opening = scene.opening_of("B")
        scene.ask("B", wish(mode=Mode.FULL))
        assert scene.opening_of("B") == opening
        run = scene.begin("B")
        assert run.parameters.mode is Mode.FULL
        assert scene.pending("B") is None

    def test_inputs_join_the_run_of_a_request_that_is_on_its_way(self) -> None:
        scene = Scene.ready(chain())
        scene.ask("B")
        opening = scene.opening_of("B")
        scene.run("A")
        assert scene.opening_of("B") == opening
        run = scene.begin("B")
        assert [pin.generation for pin in run.pins] == [2]
        scene.finish("B")
        assert scene.flow("B").status is READY
        assert scene.opening("B") is None

    def test_inputs_do_not_wait_for_a_retry_that_is_to_come_later(self) -> None:
        scene = Scene.ready(chain())
        scene.backend.retry = replace(
            scene.backend.retry, failed=1, failed_delay=timedelta(hours=6)
        )
        scene.begin("B", wish())
        scene.end("B", RunStatus.FAILED)
        assert scene.opening_of("B").not_before == scene.now + timedelta(hours=6)
        scene.run("A")
        assert scene.openings_told() == ["B"]
        assert scene.opening_of("B").not_before == scene.now

    def test_a_retry_is_not_announced_again_before_its_time(self) -> None:
        scene = Scene.ready(chain())
        scene.backend.retry = replace(
            scene.backend.retry, failed=1, failed_delay=timedelta(hours=6)
        )
        scene.begin("B", wish())
        scene.end("B", RunStatus.FAILED)
        retry = scene.opening_of("B")
        scene.evaluate("B")
        assert (scene.opening_of("B"), scene.told) == (retry, [])


class TestMixedCadences:
    @pytest.mark.parametrize("refreshed", ["daily", "weekly"])
    def test_each_refresh_of_either_triggers(self, refreshed: str) -> None:
        scene = Scene.ready(mixed_cadences())
        for times in (1, 2, 3):
            scene.run(refreshed)
            assert scene.openings_told() == ["D"]
            scene.run("D")
            assert scene.flow("D").generation == 1 + times
            assert scene.flow("D").status is READY

    def test_not_while_the_other_is_not_ready(self) -> None:
        scene = Scene.ready(mixed_cadences())
        scene.begin("weekly", wish())
        scene.run("daily")
        assert scene.opening("D") is None
        assert scene.blocked_by("D") == ["weekly"]
        scene.finish("weekly", same=True)
        assert scene.openings_told() == ["D"]


class TestModel:
    def test_new_prices_infer_but_do_not_train(self) -> None:
        scene = Scene.ready(model())
        scene.run("prices")
        assert scene.openings_told() == ["inference"]
        assert scene.flow("training").status is READY
        assert scene.flow("monitoring").status is STALE

    def test_a_retraining_in_progress_does_not_block(self) -> None:
        scene = Scene.ready(model())
        scene.begin("training", wish())
        scene.run("prices")
        assert scene.openings_told() == ["inference"]

    def test_a_new_model_infers_again(self) -> None:
        scene = Scene.ready(model())
        scene.run("training")
        assert scene.openings_told() == ["inference"]
        scene.run("inference")
        assert scene.openings_told() == ["monitoring"]
        scene.run("monitoring")
        assert set(scene.statuses().values()) == {READY}

    def test_without_any_model_there_is_nothing_to_infer_with(self) -> None:
        scene = Scene(model())
        scene.run("prices")
        assert scene.blocked_by("inference") == ["training"]


def test_an_output_is_fresh_until_its_next_slot() -> None:
    draft = Scene.ready(chain()).draft()
    flow = draft.flows[flow_id("A")]
    for later, is_fresh in ((timedelta(hours=1), True), (-timedelta(hours=1), False)):
        draft.flows[flow.id] = replace(flow, next_due_at=draft.now + later)
        assert gate.is_fresh(draft, flow.id) is is_fresh
