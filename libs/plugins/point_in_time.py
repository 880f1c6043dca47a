"""Accessor ``point_in_time``: the data as known at a time, without later knowledge."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import ClassVar
from zoneinfo import available_timezones

import polars as pl
from pydantic import Field, field_validator

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.accessor import Accessor, Query, narrow
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE

_SINCE = " since"
"""Column of the day from which a row counts; no column of a dataset begins with a blank."""


class PointInTimeAccessor(Accessor):
    """For each (date, symbol) the newest row whose ``knowledge_time`` is not after the one asked.

    Without a ``knowledge_time`` in the query it is the newest row there is. Runs read each date as
    it was known at its end.
    """

    name = "point_in_time"
    version = "1.0.0"
    answers_knowledge_time = True
    input_schema: ClassVar[dict[str, str]] = {
        "date": "Date",
        "symbol": "String",
        KNOWLEDGE: "Datetime",
    }

    class Config(Accessor.Config):
        """Parameters of the accessor."""

        timezone: str = Field(
            default="UTC",
            description=(
                "Time zone in which a date ends at midnight; what is known then counts for the "
                "date."
            ),
        )
        max_age_days: int | None = Field(
            default=None,
            ge=0,
            description="Days for which a row stays current without a newer one; empty: for ever.",
        )

        @field_validator("timezone")
        @classmethod
        def _exists(cls, name: str) -> str:
            if name not in available_timezones():
                raise ValueError(f"there is no time zone {name!r}")
            return name

    config: Config

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """See ``Accessor.read``; rejects a frame without ``knowledge_time``."""
        _require_knowledge(frame)
        known = pl.col(KNOWLEDGE)
        if query.knowledge_time is not None:
            asked = query.knowledge_time.astimezone(UTC)
            frame = frame.filter(known <= asked)
        # Limit first: fewer rows to group. Limits on symbols and dates never split a key's rows.
        limited = narrow(frame, query, (*KEYS, KNOWLEDGE))
        return limited.filter(known == known.max().over(KEYS))

    def as_known(self, frame: pl.LazyFrame, dates: pl.Series | None = None) -> pl.LazyFrame:
        """Return, for each of ``dates`` and each symbol, the newest row known at the date's end.

        The newest row has the latest date and is the last revision of it; a row counts from its own
        date on, even if it was known before. ``date`` becomes the requested date or, without
        ``dates``, each date on which the newest row of any symbol changed.
        """
        names = _require_knowledge(frame)
        current = self._current(frame)
        asked = current.select(date=_SINCE) if dates is None else pl.LazyFrame({"date": dates})
        symbols = current.select("symbol").unique()
        panel = asked.unique().join(symbols, how="cross").sort("date")
        age = self.config.max_age_days
        return (
            panel.join_asof(
                current.drop("date").sort(_SINCE),
                left_on="date",
                right_on=_SINCE,
                by="symbol",
                tolerance=None if age is None else timedelta(days=age),
                coalesce=False,
                check_sortedness=False,
            )
            .filter(pl.col(_SINCE).is_not_null())
            .select(names)
        )

    def _current(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return the rows that were a symbol's newest at some day's end, and since which day."""
        known = pl.col(KNOWLEDGE).dt.convert_time_zone(self.config.timezone).dt.date()
        since = pl.max_horizontal(known, "date").alias(_SINCE)
        ordered = frame.with_columns(since).sort("symbol", _SINCE, "date", KNOWLEDGE)
        newest = pl.col("date") == pl.col("date").cum_max().over("symbol")
        return ordered.filter(newest).unique(["symbol", _SINCE], keep="last", maintain_order=True)


def _require_knowledge(frame: pl.LazyFrame) -> list[str]:
    """Return the columns of the frame; reject one without ``knowledge_time``."""
    present = frame.collect_schema().names()
    if KNOWLEDGE not in present:
        raise DataRejected(
            f"accessor 'point_in_time' needs a column {KNOWLEDGE!r} "
            f"(there are {', '.join(present)})",
            {"columns": present},
        )
    return present
