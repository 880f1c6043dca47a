"""Backfills in pieces: how a range is cut, and where a piece stands."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.core.backfill import Chunk, Piece, PieceState, pieces, state_of
from prefect_instances.libs.core.dates import EARLIEST, LATEST
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Mode, RunStatus

DONE, UNDER_WAY, OPEN = PieceState.DONE, PieceState.UNDER_WAY, PieceState.OPEN
COMPLETED, RUNNING, FAILED = RunStatus.COMPLETED, RunStatus.RUNNING, RunStatus.FAILED
DAYS = st.dates(date(1700, 1, 1), date(2199, 12, 31))
"""Days that a request may name."""

MARCH = Piece(date(2020, 3, 1), date(2020, 3, 31))


def asked(start: tuple[int, int], end: tuple[int, int] | None = None) -> RunParameters:
    return RunParameters(start=date(2020, *start), end=date(2020, *end) if end else None)


@given(st.dates(), st.integers(0, 900), st.sampled_from(Chunk))
def test_pieces_hold_every_date_once(start: date, days: int, chunk: Chunk) -> None:
    end = date.fromordinal(min(start.toordinal() + days, date.max.toordinal()))
    found = list(pieces(start, end, chunk))
    assert (found[0].start, found[-1].end) == (start, end)
    assert all(piece.start <= piece.end for piece in found)
    assert all(two.start - one.end == timedelta(days=1) for one, two in pairwise(found))


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (Chunk.WEEK, ["2023-12-28 to 2023-12-31", "2024-01-01 to 2024-01-07"]),
        (Chunk.MONTH, ["2023-12-28 to 2023-12-31", "2024-01-01 to 2024-01-31"]),
        (Chunk.QUARTER, ["2023-12-28 to 2023-12-31", "2024-01-01 to 2024-03-31"]),
        (Chunk.YEAR, ["2023-12-28 to 2023-12-31", "2024-01-01 to 2024-12-31"]),
        (Chunk.DAY, ["2023-12-28 to 2023-12-28", "2023-12-29 to 2023-12-29"]),
        (Chunk.ALL, ["2023-12-28 to 2025-03-01"]),
    ],
)
def test_pieces_end_where_the_calendar_period_does(chunk: Chunk, expected: list[str]) -> None:
    found = [str(piece) for piece in pieces(date(2023, 12, 28), date(2025, 3, 1), chunk)]
    assert found[:2] == expected


def test_february_of_a_leap_year_has_its_last_day() -> None:
    assert list(pieces(date(2024, 2, 10), date(2024, 3, 2), Chunk.MONTH)) == [
        Piece(date(2024, 2, 10), date(2024, 2, 29)),
        Piece(date(2024, 3, 1), date(2024, 3, 2)),
    ]


def test_a_range_that_ends_before_it_begins_has_no_pieces() -> None:
    with pytest.raises(ValueError, match="before the start"):
        list(pieces(date(2024, 1, 2), date(2024, 1, 1), Chunk.DAY))


@pytest.mark.parametrize(
    ("waiting", "runs", "state"),
    [
        (None, [], OPEN),
        (asked((3, 1), (3, 31)), [], UNDER_WAY),
        (asked((2, 1)), [], UNDER_WAY),
        (asked((3, 2)), [], OPEN),
        (asked((3, 1), (3, 30)), [], OPEN),
        (RunParameters(), [], OPEN),
        (RunParameters(mode=Mode.FULL), [], UNDER_WAY),
        (RunParameters(mode=Mode.FULL, as_of=date(2020, 3, 30)), [], OPEN),
        (None, [(RUNNING, asked((3, 1), (3, 31)))], UNDER_WAY),
        (None, [(FAILED, asked((3, 1), (3, 31)))], OPEN),
        (None, [(FAILED, asked((3, 1), (3, 31))), (COMPLETED, asked((1, 1), (4, 1)))], DONE),
        (None, [(COMPLETED, RunParameters())], OPEN),
        (asked((3, 1), (3, 31)), [(COMPLETED, asked((3, 1), (3, 31)))], DONE),
    ],
)
def test_where_a_piece_stands(
    waiting: RunParameters | None,
    runs: list[tuple[RunStatus, RunParameters]],
    state: PieceState,
) -> None:
    assert state_of(MARCH, waiting, runs) is state


DAYS = st.dates(EARLIEST, LATEST)
SPANS = st.one_of(
    st.just((None, None)),
    st.tuples(DAYS, st.none()),
    st.tuples(DAYS, DAYS).map(lambda two: (min(two), max(two))),
)


@given(SPANS, SPANS)
def test_one_request_out_of_two_reads_the_dates_of_both(
    older: tuple[date | None, date | None], newer: tuple[date | None, date | None]
) -> None:
    both = RunParameters(start=older[0], end=older[1]).merged(
        RunParameters(start=newer[0], end=newer[1])
    )
    assert both.problems() == []
    for start, end in (older, newer):
        if start is None:
            assert both.end is None, "what is new is read too"
        else:
            assert both.covers(start, end or date.max)


@pytest.mark.parametrize(
    ("parameters", "paths"),
    [
        (RunParameters(end=date(2020, 1, 1)), ["end"]),
        (RunParameters(start=date(2020, 1, 2), end=date(2020, 1, 1)), ["end"]),
        (
            RunParameters(Mode.FULL, start=date(2020, 1, 2), end=date(2020, 1, 1)),
            ["end", "start"],
        ),
        (RunParameters(start=date(2020, 1, 1), end=date(2020, 1, 1)), []),
    ],
)
def test_parameters_that_contradict_each_other_are_named(
    parameters: RunParameters, paths: list[str]
) -> None:
    assert [problem.path for problem in parameters.problems()] == paths
