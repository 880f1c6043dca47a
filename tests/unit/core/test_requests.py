"""Requests are remembered: one a flow, which fulfils every one that was made."""

from __future__ import annotations

from datetime import date

import pytest

from prefect_instances.libs.core.commands import Skipped
from prefect_instances.libs.core.ids import REQUEST_MERGED
from prefect_instances.libs.core.records import OpeningStatus, RequestStatus, RunParameters
from prefect_instances.libs.core.status import Cause, FlowStatus, Mode, RunStatus
from tests.property.graphs import chain
from tests.property.scene import Scene, wish

FULL, INCREMENTAL = Mode.FULL, Mode.INCREMENTAL
MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


@pytest.mark.parametrize(
    ("older", "newer", "merged"),
    [
        pytest.param((FULL, None), (INCREMENTAL, None), (FULL, None), id="full-was-asked-first"),
        pytest.param((INCREMENTAL, None), (FULL, None), (FULL, None), id="full-was-asked-last"),
        pytest.param(
            (INCREMENTAL, None), (INCREMENTAL, None), (INCREMENTAL, None), id="incremental"
        ),
        pytest.param(
            (INCREMENTAL, MONDAY), (INCREMENTAL, TUESDAY), (INCREMENTAL, TUESDAY), id="newest-as-of"
        ),
        pytest.param((FULL, MONDAY), (INCREMENTAL, None), (FULL, None), id="newest-as-of-is-none"),
    ],
)
def test_two_requests_become_one(
    older: tuple[Mode, date | None],
    newer: tuple[Mode, date | None],
    merged: tuple[Mode, date | None],
) -> None:
    assert RunParameters(*older).merged(RunParameters(*newer)) == RunParameters(*merged)


@pytest.mark.parametrize("first", [True, False])
def test_a_plain_request_does_not_take_the_force_of_another(first: bool) -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish())
    scene.ask("B", wish(force=first))
    scene.ask("B", wish(force=not first))
    scene.finish("B", same=True)
    assert scene.begin("B").parameters.force


@pytest.mark.parametrize("first", [None, MONDAY])
def test_a_slot_that_is_due_is_not_lost_to_a_day_of_the_past(first: date | None) -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish())
    scene.ask("B", wish(Cause.SCHEDULE, as_of=first))
    scene.ask("B", wish(as_of=MONDAY if first is None else None))
    scene.finish("B", same=True)
    assert scene.begin("B").parameters.as_of is None


def test_the_furthest_of_several_days_is_read_and_the_others_are_told() -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish())
    scene.ask("B", wish(as_of=TUESDAY))
    skipped = scene.start("B", wish(as_of=MONDAY))
    told = [event for event in scene.told if event.name == REQUEST_MERGED]

    line = "as_of 2026-01-05 gives way to 2026-01-06"
    assert isinstance(skipped, Skipped)
    assert skipped.why.endswith(f"the request runs after it; {line}")
    assert [event.payload["replaced"] for event in told] == [[line]]
    scene.finish("B", same=True)
    assert scene.begin("B").parameters.as_of == TUESDAY


def test_what_a_crash_repeats_gives_way_in_words_too() -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish(as_of=MONDAY))
    scene.ask("B")
    scene.end("B", RunStatus.CRASHED)
    told = [event for event in scene.told if event.name == REQUEST_MERGED]
    assert [event.payload["replaced"] for event in told] == [
        ["as_of 2026-01-05 gives way to the newest day"]
    ]


def test_a_flow_has_one_pending_request_with_the_words_of_all() -> None:
    scene = Scene(chain())
    scene.ask("B", wish(mode=FULL, as_of=MONDAY))
    first = scene.pending("B")
    scene.ask("B", wish(Cause.SCHEDULE, as_of=TUESDAY))
    pending = scene.pending("B")
    assert first is not None
    assert pending is not None
    assert pending.id == first.id
    assert pending.parameters == RunParameters(FULL, TUESDAY)
    assert pending.cause is Cause.SCHEDULE


def test_a_request_of_an_open_gate_opens_it() -> None:
    scene = Scene.ready(chain())
    scene.ask("B")
    opening, pending = scene.opening_of("B"), scene.pending("B")
    assert pending is not None
    assert (opening.request_id, opening.status) == (pending.id, OpeningStatus.OPEN)
    assert scene.openings_told() == ["B"]


def test_asking_again_announces_nothing_more() -> None:
    scene = Scene.ready(chain())
    scene.ask("B")
    scene.ask("B", wish(mode=FULL))
    assert scene.told == []
    assert scene.begin("B").parameters.mode is FULL


def test_a_blocked_request_is_remembered_and_runs_when_the_gate_opens() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.ask("B", wish(as_of=MONDAY))
    assert scene.opening("B") is None
    scene.finish("A", same=True)
    assert scene.openings_told() == ["B"]
    assert scene.begin("B").parameters.as_of == MONDAY


def test_a_request_beside_a_run_waits_for_its_end() -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish())
    scene.ask("B", wish(mode=FULL))
    assert scene.opening("B") is None
    scene.finish("B", same=True)
    assert scene.openings_told() == ["B"]
    assert scene.begin("B").parameters.mode is FULL


def test_a_served_request_is_done_and_not_repeated() -> None:
    scene = Scene.ready(chain())
    scene.ask("B")
    request = scene.pending("B")
    scene.run("B")
    assert request is not None
    assert scene.backend.state.requests[request.id].status is RequestStatus.DONE
    assert scene.opening("B") is None


def test_a_run_of_its_own_takes_what_was_asked_before() -> None:
    scene = Scene.ready(chain())
    scene.ask("B", wish(mode=FULL))
    waiting = scene.opening_of("B")
    run = scene.begin("B", wish(Cause.SCHEDULE))
    assert (run.parameters.mode, run.opening_id) == (FULL, waiting.id)
    assert scene.pending("B") is None


def test_a_run_takes_all_that_waits_and_leaves_nothing() -> None:
    scene = Scene.ready(chain())
    scene.ask("B", wish(mode=FULL))
    scene.run("A")
    scene.run("B")
    assert scene.flow("B").status is FlowStatus.READY
    assert scene.pending("B") is None
    assert scene.opening("B") is None


def test_an_unclaimed_opening_is_announced_again_as_its_next_attempt() -> None:
    scene = Scene.ready(chain())
    scene.ask("B")
    scene.announce_again("B")
    opening = scene.opening_of("B")
    assert (opening.attempt, opening.announced_at) == (2, scene.now)
    assert scene.openings_told() == ["B"]


def test_an_opening_that_waits_for_its_gate_is_not_announced_again() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    scene.begin("A", wish())
    scene.start("B")
    scene.announce_again("B")
    assert scene.opening_of("B").status is OpeningStatus.WAITING
    assert scene.told == []


def test_a_request_outlives_everything_that_keeps_it_from_running() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.ask("B", wish(mode=FULL))
    scene.pause("B")
    scene.end("A", RunStatus.CANCELLED)
    scene.resume("B")
    assert scene.opening("B") is None
    scene.run("A", same=True)
    assert scene.begin("B").parameters.mode is FULL
