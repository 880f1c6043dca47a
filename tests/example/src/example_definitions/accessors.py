"""An accessor: how readers see the rows."""

import polars as pl

from prefect_instances import KEYS, Accessor, Query, narrow


class MonthEnd(Accessor):
    """Of each month the last row of each symbol, as far as the query lets see."""

    name, version = "month_end", "1.0.0"

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """``narrow`` applies the query; what is left is thinned."""
        rows = narrow(frame, query, KEYS)
        month = pl.col("date").dt.truncate("1mo")
        return rows.filter(pl.col("date") == pl.col("date").max().over("symbol", month))
