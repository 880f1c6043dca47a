"""Panels: one column of an input as a matrix (dates x symbols), for portfolio procedures."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.content import list_field_columns
from prefect_instances.libs.quant.prices import usable_prices
from prefect_instances.libs.services.runs.run_context import Job, PinnedInput
from prefect_instances.libs.specs import list_sessions

Floats = NDArray[np.float64]

VALUE_COLUMNS = ("value", "prediction", "weight")
"""Names of the main column of an upstream, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A matrix ``values`` (dates x symbols), NaN for missing; dates ascend, symbols are unique."""

    dates: tuple[date, ...]
    symbols: tuple[str, ...]
    values: Floats

    def limited(self, symbols: Sequence[str]) -> Panel:
        """Return the panel of these symbols, in this order; a missing symbol is all NaN."""
        index = {symbol: at for at, symbol in enumerate(self.symbols)}
        values = np.full((len(self.dates), len(symbols)), np.nan)
        for at, symbol in enumerate(symbols):
            if symbol in index:
                values[:, at] = self.values[:, index[symbol]]
        return Panel(self.dates, tuple(symbols), values)

    def known(self, dates: Sequence[date], max_age_days: int) -> Floats:
        """Return for each date and symbol the newest value dated then or before.

        NaN if that value is older than ``max_age_days`` calendar days. No value of the future is
        used.
        """
        own = np.array(self.dates, dtype="datetime64[D]").astype(np.int64)
        asked = np.array(dates, dtype="datetime64[D]").astype(np.int64)
        result = np.full((len(dates), len(self.symbols)), np.nan)
        for column in range(len(self.symbols)):
            there = np.nonzero(np.isfinite(self.values[:, column]))[0]
            if not len(there):
                continue
            last = np.searchsorted(own[there], asked, side="right") - 1
            rows = there[np.maximum(last, 0)]
            fresh = (last >= 0) & (asked - own[rows] <= max_age_days)
            result[fresh, column] = self.values[rows[fresh], column]
        return result

    def priced(self, symbols: Sequence[str]) -> Panel:
        """Return the panel of prices of a universe, on the universe's own bars.

        A bar is a date on which one of ``symbols`` has a usable price, whatever other symbols do;
        prices that are not usable (see ``libs.quant.prices``) become NaN.
        """
        chosen = self.limited(symbols)
        values = usable_prices(chosen.values)
        bars = np.nonzero(np.isfinite(values).any(axis=1))[0]
        return Panel(tuple(self.dates[bar] for bar in bars), chosen.symbols, values[bars])

    def on(self, dates: Sequence[date]) -> Panel:
        """Return the panel with exactly these dates; a missing date is all NaN."""
        index = {day: at for at, day in enumerate(self.dates)}
        there = [at for at, day in enumerate(dates) if day in index]
        values = np.full((len(dates), len(self.symbols)), np.nan)
        values[there] = self.values[[index[dates[at]] for at in there]]
        return Panel(tuple(dates), self.symbols, values)

    def between(self, first: date, last: date) -> Panel:
        """Return the panel of the dates from ``first`` to ``last``, both included."""
        begin, end = bisect_left(self.dates, first), bisect_right(self.dates, last)
        return Panel(self.dates[begin:end], self.symbols, self.values[begin:end])

    def whole_rows(self, dates: Sequence[date], max_age_days: int) -> Floats:
        """Return for each date the newest row dated then or before, as one decision.

        Missing values of that row are 0, whatever older rows hold. All NaN if no row with a value
        is as new as ``max_age_days`` calendar days.
        """
        there = np.isfinite(self.values).any(axis=1, keepdims=True)
        age = np.where(there, 0.0, np.nan)
        marked = Panel(self.dates, ("row",), age + np.arange(len(self.dates))[:, None])
        newest = marked.known(dates, max_age_days)[:, 0]
        rows = np.full((len(dates), len(self.symbols)), np.nan)
        known = np.isfinite(newest)
        rows[known] = np.nan_to_num(self.values[newest[known].astype(np.int64)])
        return rows


def take_bars(prices: Panel, symbols: Sequence[str], calendar: str = "") -> Panel:
    """Return the usable prices of a universe on its bars; see ``Panel.priced``.

    With a ``calendar`` the bars are its sessions from the universe's first price to its last.
    """
    own = prices.priced(symbols)
    if not calendar or not own.dates:
        return own
    return own.on(list_sessions(calendar, own.dates[0], own.dates[-1]))


def select_inputs(job: Job, *roles: str) -> list[PinnedInput]:
    """List the inputs in any of these roles, in the order of the references."""
    return [item for item in job.inputs if item.role in roles]


def get_input(job: Job, role: str) -> PinnedInput:
    """Return the only input in a role; raise DataRejected unless exactly one has published data."""
    found = select_inputs(job, role)
    if len(found) != 1:
        raise DataRejected(f"needs one upstream with data in the role {role}, has {len(found)}")
    return found[0]


def read_panel(item: PinnedInput, column: str = "") -> Panel:
    """Convert one column of an input to a panel; an empty ``column`` means the main column.

    Raises DataRejected if there is no such column, or no main one.
    """
    frame = item.frame
    present = list_field_columns(frame.collect_schema().names())
    name = column or _main_column(item, present)
    if name not in present:
        raise DataRejected(
            f"{item.resource} has no column {name!r} (there are {', '.join(present)})",
            {"resource": item.resource, "columns": present},
        )
    long = frame.select("date", "symbol", pl.col(name).cast(pl.Float64)).collect()
    return build_panel(long.sort("date", "symbol"), name)


def build_panel(long: pl.DataFrame, column: str) -> Panel:
    """Convert a long frame (date, symbol, column) to a panel; its symbols are sorted."""
    if not long.height:
        return Panel((), (), np.empty((0, 0)))
    wide = long.pivot("symbol", index="date", values=column).sort("date")
    symbols = sorted(name for name in wide.columns if name != "date")
    values = wide.select(pl.col(symbols).fill_null(float("nan"))).to_numpy()
    return Panel(tuple(wide["date"].to_list()), tuple(symbols), np.ascontiguousarray(values))


def _main_column(item: PinnedInput, present: Sequence[str]) -> str:
    for name in VALUE_COLUMNS:
        if name in present:
            return name
    if len(present) == 1:
        return present[0]
    raise DataRejected(
        f"{item.resource} has several columns, none of them named value or prediction: "
        f"{', '.join(present)}",
        {"resource": item.resource, "columns": list(present)},
    )


def build_long_frame(
    dates: Sequence[date], symbols: Sequence[str], **fields: Floats
) -> pl.DataFrame:
    """Convert matrices (dates x symbols) to a long frame, without rows in which all are NaN."""
    count = len(symbols)
    data = {
        "date": np.repeat(np.array(dates, dtype="datetime64[D]"), count),
        "symbol": list(symbols) * len(dates),
        **{name: values.reshape(-1) for name, values in fields.items()},
    }
    frame = pl.DataFrame(data).with_columns(pl.col("date").cast(pl.Date))
    present = pl.any_horizontal(pl.col(name).is_not_nan() for name in fields)
    return frame.filter(present)
