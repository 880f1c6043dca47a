"""Drift that monitoring found: whose status it changes, and whose it does not."""

from __future__ import annotations

from uuid import uuid4

import pytest

from prefect_instances.libs.core import ids, transitions
from prefect_instances.libs.core.records import Request, RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus, Reason
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene, wish

REPORT = {"drift_share": 0.7, "threshold": 0.5}
TRAINING, INFERENCE, MONITORING = "A", "B", "C"


def detect(scene: Scene, *, retrain: bool) -> list[object]:
    """Monitoring found drift; the facts that were told."""
    told: list[object] = []

    def decide(draft: Draft) -> None:
        request = Request(
            uuid4(), flow_id(TRAINING), Cause.SCHEDULE, RunParameters(), scene.now, scene.now
        )
        monitoring = flow_id(MONITORING)
        transitions.detect_drift(draft, monitoring, REPORT, request if retrain else None)
        told.extend(draft.facts)

    scene.backend.decide(decide)
    scene.told = scene.backend.take_events()
    return told


@pytest.mark.parametrize("retrain", [True, False])
def test_it_is_always_told(retrain: bool) -> None:
    facts = detect(Scene.ready(chain()), retrain=retrain)
    assert (ids.DRIFT_DETECTED, flow_id(MONITORING), REPORT) in facts


def test_without_retraining_no_status_changes_and_nothing_is_asked() -> None:
    scene = Scene.ready(chain())
    before = scene.statuses()
    detect(scene, retrain=False)
    assert scene.statuses() == before
    assert scene.pending(TRAINING) is None
    assert scene.openings_told() == []


def test_a_ready_training_becomes_stale_and_is_due_and_the_others_stay() -> None:
    scene = Scene.ready(chain())
    detect(scene, retrain=True)
    assert scene.state_of(TRAINING) == (FlowStatus.STALE, Reason.DRIFT_DETECTED)
    assert scene.flow(INFERENCE).status is FlowStatus.READY
    assert scene.flow(MONITORING).status is FlowStatus.READY
    assert scene.openings_told() == [TRAINING]
    scene.run(TRAINING, same=True)
    assert scene.state_of(TRAINING) == (FlowStatus.READY, Reason.RUN_SUCCEEDED)


def test_drift_that_is_found_twice_asks_once() -> None:
    scene = Scene.ready(chain())
    detect(scene, retrain=True)
    first = scene.pending(TRAINING)
    detect(scene, retrain=True)
    second = scene.pending(TRAINING)
    assert first is not None
    assert second is not None
    assert first.id == second.id


def test_a_training_that_runs_is_run_again_after_it() -> None:
    scene = Scene.ready(chain())
    scene.begin(TRAINING, wish())
    detect(scene, retrain=True)
    assert scene.flow(TRAINING).status is FlowStatus.RUNNING
    scene.finish(TRAINING, same=True)
    assert scene.openings_told() == [TRAINING]
