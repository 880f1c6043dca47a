"""Accessor ``simple``: the stored rows, limited by the query."""

from __future__ import annotations

import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.accessor import Accessor, Query, narrow
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE


class SimpleAccessor(Accessor):
    """Rows as they are stored, filtered by dates, symbols and columns."""

    name = "simple"
    version = "1.0.0"

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """See ``Accessor.read``; it cannot limit by knowledge time and raises if asked to."""
        if query.knowledge_time is not None:
            raise DataRejected(
                "accessor 'simple' cannot read data as known at a time; use 'point_in_time'",
                {"accessor": self.name},
            )
        return narrow(frame, query, (*KEYS, KNOWLEDGE))
