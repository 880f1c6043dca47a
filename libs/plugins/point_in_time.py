"""Accessor ``point_in_time``: what was known at a time, and nothing that came to be known later."""

from __future__ import annotations

from datetime import UTC
from typing import ClassVar

import polars as pl

from libs.core.errors import DataRejected
from libs.definitions.accessor import Accessor, Query, narrow
from libs.definitions.content import KEYS, KNOWLEDGE


class PointInTimeAccessor(Accessor):
    """For each (date, symbol) the newest row whose ``knowledge_time`` is not after the one asked.

    Without a ``knowledge_time`` in the query it is the newest row there is.
    """

    name = "point_in_time"
    version = "1.0.0"
    answers_knowledge_time = True
    input_schema: ClassVar[dict[str, str]] = {
        "date": "Date",
        "symbol": "String",
        KNOWLEDGE: "Datetime",
    }

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """See ``Accessor.read``; refuses a frame without ``knowledge_time``."""
        present = frame.collect_schema().names()
        if KNOWLEDGE not in present:
            raise DataRejected(
                f"accessor 'point_in_time' needs a column {KNOWLEDGE!r} "
                f"(there are {', '.join(present)})",
                {"columns": present},
            )
        known = pl.col(KNOWLEDGE)
        if query.knowledge_time is not None:
            asked = query.knowledge_time.astimezone(UTC)
            frame = frame.filter(known <= asked)
        # Narrowed first: less to group. Symbols and dates do not cut through a key's rows.
        limited = narrow(frame, query, (*KEYS, KNOWLEDGE))
        return limited.filter(known == known.max().over(KEYS))
