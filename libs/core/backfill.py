"""Backfills: how a range of dates is split into pieces, and which pieces still have to run."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import RunStatus


class Chunk(StrEnum):
    """How many dates one run of a backfill reads: all of them, or one calendar period.

    A week begins on Monday.
    """

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    ALL = "all"


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """The dates that one run of a backfill reads, both ends inclusive."""

    start: date
    end: date

    @property
    def parameters(self) -> RunParameters:
        """The parameters of the run that reads this piece."""
        return RunParameters(start=self.start, end=self.end)

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


class PieceState(StrEnum):
    """The progress of a piece: completed, running or requested, or not requested yet."""

    DONE = "done"
    UNDER_WAY = "under way"
    OPEN = "open"


def pieces(start: date, end: date, chunk: Chunk) -> Iterator[Piece]:
    """Split the dates from ``start`` to ``end`` (inclusive) at the ends of calendar periods.

    Yields the pieces in order; together they hold every date once. Raises ValueError if ``end`` is
    before ``start``.
    """
    if end < start:
        raise ValueError(f"the end {end} is before the start {start}")
    first = start
    while first <= end:
        last = min(end, _period_end(first, chunk))
        yield Piece(first, last)
        if last == date.max:
            return
        first = last + timedelta(days=1)


def state_of(
    piece: Piece, waiting: RunParameters | None, runs: Iterable[tuple[RunStatus, RunParameters]]
) -> PieceState:
    """Return the state of a piece.

    ``waiting`` holds the parameters of the flow's pending request; None if it has none. ``runs``
    are the runs since the backfill began.
    """
    covering = {status for status, asked in runs if asked.covers(piece.start, piece.end)}
    if RunStatus.COMPLETED in covering:
        return PieceState.DONE
    if RunStatus.RUNNING in covering or (waiting and waiting.covers(piece.start, piece.end)):
        return PieceState.UNDER_WAY
    return PieceState.OPEN


def _period_end(day: date, chunk: Chunk) -> date:
    """Return the last day of the calendar period that contains ``day``."""
    match chunk:
        case Chunk.DAY:
            return day
        case Chunk.WEEK:
            return date.fromordinal(min(day.toordinal() + 6 - day.weekday(), date.max.toordinal()))
        case Chunk.MONTH:
            return _month_end(day.year, day.month)
        case Chunk.QUARTER:
            return _month_end(day.year, 3 * ((day.month + 2) // 3))
        case Chunk.YEAR:
            return date(day.year, 12, 31)
        case Chunk.ALL:
            return date.max


def _month_end(year: int, month: int) -> date:
    return date(year, month, calendar.monthrange(year, month)[1])
