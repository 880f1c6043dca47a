"""Recursive requests refresh what is stale upstream first; smart ones skip what is fresh."""

from __future__ import annotations

from datetime import date

import pytest

from prefect_instances.libs.core.commands import Blocked, Skipped
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.recursion import find_stale_ancestors
from prefect_instances.libs.core.status import Cause, FlowStatus, Require, RunStatus
from tests.property.graphs import (
    EdgeSpec,
    FlowSpec,
    Graph,
    chain,
    diamond,
    flow_id,
    model,
    unbalanced_diamond,
)
from tests.property.scene import Scene, wish

RECURSIVE = wish(recursive=True)
SMART = wish(smart=True)


def with_failed(graph: Graph, name: str = "A") -> Scene:
    """Everything READY but one flow, whose last run was cancelled."""
    scene = Scene.ready(graph)
    scene.begin(name, wish())
    scene.end(name, RunStatus.CANCELLED)
    assert scene.state_of(name)[0] is FlowStatus.ERROR
    return scene


def play(scene: Scene, *, same: bool = False) -> list[list[str]]:
    """Run what is announced, all of it at once, wave after wave."""
    waves = []
    while wave := [f.name for f in scene.graph.flows if scene.opening(f.name)]:
        for name in wave:
            scene.begin(name)
        for name in wave:
            scene.finish(name, same=same)
        waves.append(sorted(wave))
    return waves


def test_a_fresh_graph_has_nothing_to_refresh() -> None:
    scene = Scene.ready(diamond())
    assert find_stale_ancestors(scene.draft(), flow_id("D")) == []
    assert scene.begin("D", RECURSIVE).cause is Cause.MANUAL


@pytest.mark.parametrize(
    ("graph", "target", "waves"),
    [
        (chain(), "C", [["A"], ["B"], ["C"]]),
        (diamond(), "D", [["A"], ["B", "C"], ["D"]]),
        (unbalanced_diamond(), "D", [["A"], ["B", "C"], ["C2"], ["D"]]),
    ],
)
def test_what_is_stale_runs_in_lineage_order_each_once_and_in_parallel(
    graph: Graph, target: str, waves: list[list[str]]
) -> None:
    scene = with_failed(graph)
    answer = scene.start(target, RECURSIVE)
    assert isinstance(answer, Blocked)
    assert play(scene) == waves
    assert set(scene.statuses().values()) == {FlowStatus.READY}
    assert all(scene.pending(name) is None for name in scene.statuses())


def test_what_turns_out_to_be_fresh_does_not_run() -> None:
    scene = with_failed(unbalanced_diamond())
    scene.ask("D", RECURSIVE)
    assert play(scene, same=True) == [["A"], ["D"]]


def test_a_new_graph_is_run_from_its_sources_on() -> None:
    scene = Scene(diamond())
    scene.ask("D", RECURSIVE)
    assert play(scene) == [["A"], ["B", "C"], ["D"]]


def test_the_ancestors_runs_say_why_they_ran() -> None:
    scene = with_failed(chain())
    scene.ask("C", RECURSIVE)
    assert scene.begin("A").cause is Cause.RECURSIVE


def test_an_ancestor_that_fails_leaves_the_request_waiting_until_it_heals() -> None:
    scene = with_failed(chain())
    scene.ask("C", RECURSIVE)
    scene.begin("A")
    scene.end("A", RunStatus.CANCELLED)
    assert scene.opening("B") is None
    assert scene.opening("C") is None
    scene.run("A", same=True)
    assert play(scene) == [["C"]]


def test_a_paused_ancestor_is_waited_for() -> None:
    scene = with_failed(chain())
    scene.pause("B")
    scene.ask("C", RECURSIVE)
    scene.begin("A")
    scene.finish("A", same=True)
    assert scene.opening("C") is None
    scene.resume("B")
    assert play(scene) == [["C"]]


def test_what_was_asked_of_an_ancestor_keeps_its_words() -> None:
    scene = with_failed(chain())
    scene.ask("B", wish(as_of=date(2026, 1, 5)))
    scene.ask("C", RECURSIVE)
    pending = scene.pending("B")
    assert pending is not None
    assert pending.parameters == RunParameters(as_of=date(2026, 1, 5), recursive=True)
    assert play(scene, same=True) == [["A"], ["B"], ["C"]]


@pytest.mark.parametrize(
    ("require", "waves"),
    [
        pytest.param(Require.READY, [["up"], ["down"]], id="ready"),
        pytest.param(Require.DATA, [["up"], ["down"]], id="data"),
        pytest.param(Require.NONE, [["down"]], id="none"),
    ],
)
def test_an_upstream_that_does_not_trigger_runs_first_if_anything_is_required_of_it(
    require: Require, waves: list[list[str]]
) -> None:
    edge = EdgeSpec("up", "down", require, triggers=False)
    scene = with_failed(Graph((FlowSpec("up"), FlowSpec("down")), (edge,)), "up")
    scene.ask("down", RECURSIVE)
    assert play(scene) == waves


def test_a_training_that_is_not_stale_is_left_alone() -> None:
    scene = with_failed(model(), "prices")
    scene.ask("monitoring", RECURSIVE)
    ran = [name for wave in play(scene) for name in wave]
    assert ran == ["prices", "inference", "monitoring"]


def test_a_training_that_failed_before_is_run_and_waited_for() -> None:
    scene = with_failed(model(), "training")
    scene.ask("inference", RECURSIVE)
    assert scene.opening("inference") is None
    assert play(scene)[:2] == [["training"], ["inference"]]


def test_an_inference_goes_on_with_the_old_model_when_the_training_fails_again() -> None:
    scene = with_failed(model(), "training")
    scene.ask("inference", RECURSIVE)
    scene.begin("training")
    scene.end("training", RunStatus.CANCELLED)
    assert scene.opening("inference") is not None


def test_a_smart_run_of_a_fresh_flow_is_skipped_with_a_reason() -> None:
    scene = Scene.ready(chain())
    answer = scene.start("C", SMART)
    assert isinstance(answer, Skipped)
    assert answer.why.startswith("the output is fresh: generation 1")
    assert scene.pending("C") is None


def test_a_smart_run_of_a_stale_flow_runs() -> None:
    scene = with_failed(chain())
    assert scene.begin("A", SMART).parameters.smart


def test_a_smart_request_is_dropped_when_a_revalidation_makes_the_output_fresh() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("A")
    scene.ask("C", SMART)
    assert scene.pending("C") is not None
    scene.run("A", same=True)
    assert scene.state_of("C")[0] is FlowStatus.READY
    assert scene.pending("C") is None


def test_a_smart_and_recursive_run_refreshes_the_ancestors_and_then_looks() -> None:
    scene = with_failed(chain())
    assert isinstance(scene.start("C", wish(recursive=True, smart=True)), Blocked)
    assert play(scene, same=True) == [["A"]]
    assert scene.pending("C") is None


def test_a_plain_request_makes_a_remembered_smart_one_a_real_one() -> None:
    scene = with_failed(chain())
    scene.ask("B", SMART)
    scene.ask("B")
    pending = scene.pending("B")
    assert pending is not None
    assert not pending.parameters.smart
