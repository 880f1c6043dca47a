"""Accessors: which rows of a stored version a reader sees."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.problems import suggest_closest

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Query:
    """The limits of a read; ``None`` means no limit.

    ``as_of`` and ``end`` are both the last date of data to return (the earlier one applies),
    ``start`` is the first. ``knowledge_time`` (aware) returns what was known at that time.
    ``columns`` are fields; the key columns are always returned too, in front.
    """

    as_of: date | None = None
    knowledge_time: datetime | None = None
    columns: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    start: date | None = None
    end: date | None = None

    def __post_init__(self) -> None:
        if self.knowledge_time is not None and self.knowledge_time.tzinfo is None:
            raise ValueError("Query.knowledge_time must be an aware time")


class Accessor(Definition):
    """Base of the definitions that decide which rows of a version a reader sees."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.ACCESSOR
    answers_knowledge_time: ClassVar[bool] = False
    """Whether every read can be limited by ``knowledge_time``."""

    def generation(self, pinned: int) -> int:
        """Return the generation to read when the reader has pinned generation ``pinned``.

        By default the pinned one; never a newer one. Raises ``DataRejected`` if there is none to
        read.
        """
        return pinned

    @abstractmethod
    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """Limit ``frame`` (date x symbol, long) to what ``query`` selects, reading no data yet.

        Raises ``DataRejected`` if the frame lacks a column that the query names.
        """

    def as_known(self, frame: pl.LazyFrame, dates: pl.Series | None = None) -> pl.LazyFrame:  # noqa: ARG002 - for those that know
        """Return ``frame`` (date x symbol, long) as a run reads it: each date as known at its end.

        An accessor that can limit by knowledge time returns the rows for ``dates`` or, without
        them, for every date on which something became known: no row of a date may depend on later
        knowledge. By default it returns everything that ``read`` lets through and ignores
        ``dates``.
        """
        return self.read(frame, Query())


def narrow(frame: pl.LazyFrame, query: Query, keys: Iterable[str]) -> pl.LazyFrame:
    """Apply all of ``query`` except ``knowledge_time`` to ``frame``; never drop ``keys``.

    Raises ``DataRejected`` for a column that the frame does not have.
    """
    import polars as pl

    if query.symbols is not None:
        frame = frame.filter(pl.col("symbol").is_in(list(query.symbols)))
    if query.start is not None:
        frame = frame.filter(pl.col("date") >= query.start)
    lasts = [day for day in (query.as_of, query.end) if day is not None]
    if lasts:
        frame = frame.filter(pl.col("date") <= min(lasts))
    if query.columns is None:
        return frame
    return frame.select(_selection(frame.collect_schema().names(), query.columns, keys))


def _selection(present: list[str], columns: Iterable[str], keys: Iterable[str]) -> list[str]:
    wanted = [*columns]
    unknown = [column for column in dict.fromkeys(wanted) if column not in present]
    if unknown:
        listed = "; ".join(
            f"there is no column {column!r}{suggest_closest(column, present)}" for column in unknown
        )
        raise DataRejected(
            f"{listed} (there are {', '.join(present)})",
            {"column": unknown[0], "unknown": unknown, "columns": present},
        )
    leading = [key for key in keys if key in present]
    return leading + [column for column in dict.fromkeys(wanted) if column not in leading]
