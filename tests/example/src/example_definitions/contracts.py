"""Definitions that say which flows and which upstreams their instances have."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from example_definitions.pipelines import RandomWalk
from prefect_instances import (
    Extract,
    ExtractContext,
    FlowContext,
    FlowResult,
    FlowSpec,
    Input,
    LineageContract,
    Page,
    Pipeline,
    Require,
)


class CheckedWalk(RandomWalk):
    """A walk, and a flow that looks at each version of it."""

    name, version = "checked_walk", "1.0.0"
    source_modules = ("example_definitions.pipelines",)
    flow_specs = (
        FlowSpec("quality", runs="look", schedule={"type": "cron", "expression": "0 8 * * 1"}),
    )

    def look(self, context: FlowContext, inputs: Sequence[Input]) -> FlowResult:
        """Per symbol, on its last day: how many days there are, and the largest move."""
        [own] = inputs
        move = pl.col("close").diff().abs().max()
        rows = own.frame.sort("date").group_by("symbol")
        table = rows.agg(pl.col("date").last(), days=pl.len(), largest_move=move).collect()
        page = Page("table", "table", table.sort("symbol").cast(pl.String).to_dicts())
        return FlowResult(table, {"symbols": table.height}, [page])


class Relative(Pipeline):
    """What closes gain over those of a benchmark, day by day."""

    name, version = "relative", "1.0.0"
    lineage_contracts = (
        LineageContract("input", required=True),
        LineageContract(
            "benchmark", flow="refresh", require=Require.DATA, triggers=False, required=True
        ),
    )

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        """The mean of the benchmark's symbols is what the others are held against."""
        frames = {item.role: item.frame for item in inputs}
        benchmark = frames["benchmark"].group_by("date").agg(pl.col("close").mean().alias("mean"))
        rows = frames["input"].join(benchmark, on="date").sort("symbol", "date")
        gain = (pl.col("close").pct_change() - pl.col("mean").pct_change()).over("symbol")
        return Extract(rows.select("date", "symbol", value=gain).drop_nulls().collect(), True)
