"""A definition that cannot be used: the flow says so, nothing runs, and nobody tries again."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core import starting
from prefect_instances.libs.core.commands import Blocked, Skipped, Start, StartCommand, Unusable
from prefect_instances.libs.core.records import RequestStatus
from prefect_instances.libs.core.status import FlowStatus, Reason
from tests.property.graphs import chain, flow_id
from tests.property.scene import Scene, wish

WHY = "PipelineDef definition 'walk 1.0.0' cannot be used"


@pytest.fixture
def opened() -> Scene:
    """A → B → C with new output of A, for which B's gate has opened."""
    scene = Scene.ready(chain())
    scene.run("A")
    return scene


def start_unusable(scene: Scene, name: str) -> Start:
    """A flow run for what waits, in a process where the definition is not there."""
    opening = scene.opening(name)
    prefect = scene.prefect_id()
    command = StartCommand(
        run_id=prefect,
        prefect_flow_run_id=prefect,
        flow_id=flow_id(name),
        opening_id=opening.id if opening else None,
        request=None,
        unusable=WHY,
    )
    answer: Start = scene.backend.decide(lambda draft: starting.start(draft, command), prefect)
    return answer


def test_the_flow_says_which_definition_it_is_and_keeps_its_output(opened: Scene) -> None:
    before = opened.flow("B")
    assert start_unusable(opened, "B") == Unusable(WHY)
    after = opened.flow("B")
    assert (after.status, after.reason) == (FlowStatus.ERROR, Reason.DEFINITION_UNAVAILABLE)
    assert after.detail == WHY
    assert (after.version_id, after.generation) == (before.version_id, before.generation)
    assert (after.running, after.last_run_id) == (None, before.last_run_id)


def test_nothing_is_on_its_way_until_inputs_change_or_somebody_asks(opened: Scene) -> None:
    start_unusable(opened, "B")
    opened.evaluate("B")
    assert opened.opening("B") is None
    opened.run("A")
    assert opened.opening("B") is not None
    opened.run("B")
    assert opened.flow("B").status is FlowStatus.READY


def test_what_was_asked_is_done_with(opened: Scene) -> None:
    opened.ask("B", wish())
    pending = opened.pending("B")
    assert pending is not None
    start_unusable(opened, "B")
    assert opened.pending("B") is None
    assert opened.backend.state.requests[pending.id].status is RequestStatus.DONE


def test_descendants_are_blocked_by_it_and_keep_their_status(opened: Scene) -> None:
    before = opened.flow("C").status
    start_unusable(opened, "B")
    assert opened.flow("C").status is before
    assert opened.blocked_by("C") == ["B"]


def test_a_shut_gate_is_told_first(opened: Scene) -> None:
    opened.reconfigure("A")
    assert isinstance(start_unusable(opened, "B"), Blocked)
    assert opened.flow("B").reason is not Reason.DEFINITION_UNAVAILABLE


def test_a_run_in_progress_goes_on(opened: Scene) -> None:
    opened.begin("B")
    assert isinstance(start_unusable(opened, "B"), Skipped)
    assert opened.flow("B").status is FlowStatus.RUNNING
