"""Accessor ``latest``: the newest row of each symbol, without history."""

from __future__ import annotations

from datetime import UTC
from typing import ClassVar

import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.accessor import Accessor, Query, narrow
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE


class LatestAccessor(Accessor):
    """For each symbol, the row of its newest date among those that the query selects.

    If the data have a column ``knowledge_time`` and several rows for that date, it is the one that
    became known last, and not after the ``knowledge_time`` of the query.
    """

    name = "latest"
    version = "1.0.0"
    input_schema: ClassVar[dict[str, str]] = {"date": "Date", "symbol": "String"}

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """See ``Accessor.read``; a query with a knowledge time needs the column of that name."""
        order = [key for key in ("date", KNOWLEDGE) if key in frame.collect_schema().names()]
        if query.knowledge_time is not None:
            if KNOWLEDGE not in order:
                raise DataRejected(
                    f"accessor 'latest' needs a column {KNOWLEDGE!r} to read data as once known",
                    {"accessor": self.name},
                )
            asked = query.knowledge_time.astimezone(UTC)
            frame = frame.filter(pl.col(KNOWLEDGE) <= asked)
        limited = narrow(frame, query, (*KEYS, KNOWLEDGE))
        return (
            limited.sort("symbol", *order)
            .group_by("symbol", maintain_order=True)
            .last()
            .select(limited.collect_schema().names())
        )
