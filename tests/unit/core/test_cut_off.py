"""Early cut-off: an unchanged output publishes nothing and lifts what only waited for it."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.status import FlowStatus, Reason, RunStatus
from tests.property.graphs import chain, diamond, model, of_pairs, unbalanced_diamond
from tests.property.scene import Scene, wish

ERROR, READY, RUNNING, STALE = (
    FlowStatus.ERROR,
    FlowStatus.READY,
    FlowStatus.RUNNING,
    FlowStatus.STALE,
)


def test_generation_and_version_stay_and_consumed_moves() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    before = scene.flow("B")
    run = scene.run("B", same=True)
    flow = scene.flow("B")
    assert (flow.generation, flow.version_id, flow.content_hash) == (
        before.generation,
        before.version_id,
        before.content_hash,
    )
    assert scene.edge("A", "B").consumed == 2
    assert scene.state_of("B") == (READY, Reason.RUN_SUCCEEDED)
    assert scene.backend.state.runs[run.id].output_version == before.version_id


def test_nothing_downstream_is_due() -> None:
    scene = Scene.ready(chain())
    scene.run("A", same=True)
    assert scene.statuses() == {"A": READY, "B": READY, "C": READY}
    assert scene.openings_told() == []


def test_all_that_only_waited_is_ready_without_a_run() -> None:
    scene = Scene.ready(of_pairs("A>B B>C C>D D>E"))
    scene.run("A")
    runs = len(scene.backend.state.runs)
    scene.run("B", same=True)
    assert len(scene.backend.state.runs) == runs + 1
    for name in ("C", "D", "E"):
        assert scene.state_of(name) == (READY, Reason.REVALIDATED)
        assert scene.flow(name).last_ready_at == scene.now
        assert scene.flow(name).generation == 1
    assert scene.openings_told() == []


def test_a_side_that_did_change_keeps_a_diamonds_end_stale_and_opens_it() -> None:
    scene = Scene.ready(unbalanced_diamond())
    scene.run("A")
    scene.run("B")
    scene.run("C", same=True)
    assert scene.state_of("C2") == (READY, Reason.REVALIDATED)
    assert scene.state_of("D") == (STALE, Reason.UPSTREAM_ADVANCED)
    assert scene.openings_told() == ["D"]


def test_both_sides_unchanged_lift_a_diamonds_end_once() -> None:
    scene = Scene.ready(diamond())
    scene.run("A")
    scene.run("B", same=True)
    assert scene.flow("D").status is STALE
    scene.run("C", same=True)
    assert scene.state_of("D") == (READY, Reason.REVALIDATED)


def test_a_flow_that_finished_beside_a_running_upstream_is_lifted_by_its_cut_off() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.run("B", force=True)
    assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
    scene.finish("A", same=True)
    assert scene.state_of("B") == (READY, Reason.REVALIDATED)
    assert scene.openings_told() == ["C"]


def test_an_error_is_not_lifted_and_shields_what_is_below() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("A")
    scene.ask("B", wish(force=True))
    scene.begin("B")
    scene.end("B", RunStatus.FAILED)
    scene.run("A", same=True)
    assert scene.statuses() == {"A": READY, "B": ERROR, "C": STALE}


def test_a_running_flow_is_not_lifted() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("A")
    scene.begin("B", wish(force=True))
    scene.run("A", same=True)
    assert scene.statuses() == {"A": READY, "B": RUNNING, "C": STALE}
    scene.finish("B", same=True)
    assert scene.statuses() == {"A": READY, "B": READY, "C": READY}


@pytest.mark.parametrize("reason", [Reason.CONFIG_CHANGED, Reason.PAST_DUE, Reason.SOURCE_DELAYED])
def test_what_is_stale_for_its_own_reason_is_not_lifted(reason: Reason) -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    if reason is Reason.CONFIG_CHANGED:
        scene.reconfigure("B")
    else:
        scene.ask("B", wish(force=True))
        scene.begin("B")
    scene.finish("A", same=True)
    if reason is Reason.SOURCE_DELAYED:
        scene.finish("B", same=True, delayed=True)
    elif reason is Reason.PAST_DUE:
        scene.finish("B", same=True, due_in=1)
        scene.pass_time(2)
    scene.run("A", same=True)
    assert scene.state_of("B") == (STALE, reason)


def test_an_overtaken_flow_with_a_new_configuration_is_not_lifted() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("A")
    scene.reconfigure("B")
    assert scene.state_of("B") == (STALE, Reason.CONFIG_CHANGED)
    scene.run("A", same=True)
    assert scene.flow("B").status is STALE
    assert scene.openings_told() == ["B"]


def test_a_success_that_is_not_ready_lifts_nobody() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    scene.begin("B")
    scene.run("A")
    scene.finish("B", same=True)
    assert scene.statuses() == {"A": READY, "B": STALE, "C": STALE}


def test_delayed_data_lifts_nobody() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("A")
    scene.begin("A")
    scene.finish("A", same=True, delayed=True)
    assert scene.statuses() == {"A": STALE, "B": STALE, "C": STALE}


def test_edges_that_do_not_trigger_lift_nobody() -> None:
    scene = Scene.ready(model())
    scene.reconfigure("training")
    assert scene.flow("inference").status is STALE
    scene.run("training", same=True)
    assert scene.state_of("inference") == (READY, Reason.REVALIDATED)
    assert scene.state_of("monitoring") == (READY, Reason.REVALIDATED)
    scene.reconfigure("training")
    scene.run("prices", same=True)
    assert scene.flow("training").status is STALE


def test_an_upstream_that_moved_on_before_it_settled_is_not_current() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.finish("A", delayed=True)
    scene.run("A", same=True)
    assert scene.flow("A").status is READY
    assert scene.state_of("B") == (STALE, Reason.UPSTREAM_ADVANCED)
    assert scene.openings_told() == ["B"]


def test_force_publishes_the_same_content_anew() -> None:
    scene = Scene.ready(chain())
    scene.run("A", force=True)
    assert scene.flow("A").generation == 2
    assert scene.openings_told() == ["B"]
