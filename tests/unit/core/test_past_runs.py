"""Runs about the past: they publish as any other, and leave what is due as it is."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.status import Cause, FlowStatus, Reason
from tests.property.graphs import chain
from tests.property.scene import Scene, wish

READY, STALE = FlowStatus.READY, FlowStatus.STALE


def scheduled(due_in: float = 1) -> Scene:
    """A → B → C, READY; A is due again in so many hours."""
    scene = Scene.ready(chain())
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=True, due_in=due_in)
    return scene


@pytest.mark.parametrize("same", [True, False])
def test_what_was_due_still_is(same: bool) -> None:
    scene = scheduled()
    due = scene.flow("A").next_due_at
    scene.begin("A", wish(Cause.BACKFILL))
    scene.finish("A", same=same, due_in=48, past=True)
    assert scene.flow("A").next_due_at == due
    assert scene.flow("A").status is READY
    scene.pass_time(2)
    assert scene.state_of("A") == (STALE, Reason.PAST_DUE)


def test_one_that_is_overdue_stays_so_until_a_run_brings_what_is_due() -> None:
    scene = scheduled()
    scene.begin("A", wish(Cause.BACKFILL))
    scene.pass_time(2)
    scene.finish("A", past=True)
    assert scene.state_of("A") == (STALE, Reason.PAST_DUE)
    assert scene.blocked_by("B") == ["A"]
    scene.begin("A", wish(Cause.SCHEDULE))
    scene.finish("A", same=True, due_in=24)
    assert scene.state_of("A") == (READY, Reason.RUN_SUCCEEDED)


def test_the_first_output_sets_the_first_slot_whatever_it_is_about() -> None:
    scene = Scene(chain())
    scene.begin("A", wish(Cause.BACKFILL))
    scene.finish("A", due_in=24, past=True)
    assert scene.flow("A").next_due_at is not None
