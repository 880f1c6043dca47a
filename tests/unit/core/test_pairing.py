"""Every state of a flow run and every state of ours have one decision; the page says the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from prefect_instances.libs.adapters.prefect import ENDED, LIVE, RunState
from prefect_instances.libs.core.pairing import (
    DECISIONS,
    UNAVAILABLE,
    Here,
    There,
    Verdict,
    decide,
    decide_end,
    here,
    is_still_silent,
    lease_is_over,
    seconds_to_next_beat,
)
from prefect_instances.libs.core.status import RunStatus

PAGE = Path(__file__).parents[3] / "docs" / "states-of-runs.md"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ENDS_THERE = {Verdict.CRASH_THERE, Verdict.CRASH_BOTH, Verdict.END_THERE}
ENDS_HERE = {Verdict.CRASH_HERE, Verdict.CRASH_BOTH, Verdict.END_HERE}


def test_every_pair_has_a_decision() -> None:
    assert set(DECISIONS) == set(product(There, Here))
    assert {There(state) for state in RunState} == set(There) - {There.ABSENT}


@pytest.mark.parametrize("there", There)
@pytest.mark.parametrize("status", [None, *RunStatus])
def test_once_silent_no_pair_stays_apart(there: There, status: RunStatus | None) -> None:
    """What is picked up there or running here comes to an end on both sides."""
    verdict = decide(there, status, silent=True)
    picked_up = there in {There.PENDING, There.RUNNING}

    assert (verdict in ENDS_THERE) is (picked_up or (verdict is Verdict.CRASH_BOTH))
    assert (verdict in ENDS_HERE) is (status is RunStatus.RUNNING)


@pytest.mark.parametrize("status", [None, *RunStatus])
@pytest.mark.parametrize("there", [There(state) for state in sorted(LIVE)])
def test_what_may_be_alive_is_left_alone(there: There, status: RunStatus | None) -> None:
    assert decide(there, status, silent=False) is Verdict.LEAVE


@pytest.mark.parametrize("there", [There(state) for state in sorted(ENDED)])
def test_what_is_over_in_prefect_is_not_waited_for(there: There) -> None:
    assert decide(there, RunStatus.RUNNING, silent=False) in ENDS_HERE
    assert decide(there, None, silent=False) is Verdict.START_AGAIN


def test_the_page_shows_the_same_table() -> None:
    rows = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in set(There):
            rows[There(cells[0])] = dict(zip(Here, cells[1:], strict=True))

    assert rows == {there: {one: _said(there, one) for one in Here} for there in There}


def _said(there: There, one: Here) -> str:
    decision = DECISIONS[there, one]
    if decision.heard is decision.silent:
        return str(decision.silent)
    assert decision.heard is Verdict.LEAVE
    return f"silent: {decision.silent}"


def test_a_run_that_has_not_begun_or_has_ended_is_not_running() -> None:
    groups = {status: here(status) for status in (None, *RunStatus)}
    assert groups.pop(None) is Here.UNCLAIMED
    assert groups.pop(RunStatus.RUNNING) is Here.RUNNING
    assert set(groups.values()) == {Here.ENDED}


@pytest.mark.parametrize(
    ("lease", "swept", "over"),
    [
        pytest.param(1, -1, False, id="still-held"),
        pytest.param(-1, None, True, id="no-sweep-yet"),
        pytest.param(-0.5, -1, True, id="swept-as-usual"),
        pytest.param(-3, -2, True, id="over-since-before-the-last-sweep"),
        pytest.param(-3, -2.1, True, id="over-since-before-a-late-sweep"),
        pytest.param(-1, -2.1, False, id="nobody-could-write"),
        pytest.param(-2.1, -2.1, False, id="over-just-after-a-late-sweep"),
        pytest.param(-59, -60, False, id="nobody-could-write-for-an-hour"),
    ],
)
def test_a_lease_gets_one_more_where_nobody_could_write(
    lease: float, swept: float | None, over: bool
) -> None:
    swept_at = None if swept is None else NOW + swept * MINUTE
    assert lease_is_over(NOW + lease * MINUTE, NOW, swept_at, MINUTE) is over


@pytest.mark.parametrize(
    ("lease", "waited", "silent"),
    [
        pytest.param(-5, 0, True, id="over-still"),
        pytest.param(1, 0, False, id="extended-meanwhile"),
        pytest.param(-5, 1.1, False, id="the-write-had-to-wait"),
    ],
)
def test_a_silent_run_is_judged_again_when_its_end_can_be_written(
    lease: float, waited: float, silent: bool
) -> None:
    lease_until, judged_at = (NOW + timedelta(seconds=x) for x in (lease, -waited))
    assert is_still_silent(lease_until, judged_at, NOW) is silent


@pytest.mark.parametrize(
    ("there", "name", "status"),
    [
        (There.FAILED, "Failed", RunStatus.FAILED),
        (There.FAILED, UNAVAILABLE, RunStatus.CRASHED),
        (There.CRASHED, "Crashed", RunStatus.CRASHED),
        (There.CANCELLED, "Cancelled", RunStatus.CANCELLED),
    ],
)
def test_a_run_that_met_no_database_when_it_ended_counts_as_crashed(
    there: There, name: str, status: RunStatus
) -> None:
    assert decide_end(there, name) is status


def test_a_heartbeat_that_could_not_be_written_is_soon_tried_again() -> None:
    assert seconds_to_next_beat(8, written=True) == 8
    assert seconds_to_next_beat(8, written=False) == 1
    assert seconds_to_next_beat(0.5, written=False) == 0.5
