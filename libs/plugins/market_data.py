"""Pipeline ``market_data``: real prices from an installed package, for examples."""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from prefect_instances.libs.core.dates import parse_day
from prefect_instances.libs.core.errors import (
    DataRejected,
    DefinitionUnavailable,
    InvalidSpec,
    Problem,
)
from prefect_instances.libs.definitions.base import CompatibilityRules, UpstreamShape
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.specs import session_hours

EXCHANGE = "XNYS"
"""The exchange whose sessions the prices follow."""

_FILES = {
    "us_stocks": "sp500_dataset.csv.gz",
    "sp500": "sp500_index.csv.gz",
    "factors": "factors_dataset.csv.gz",
}


def _day(value: object) -> object:
    """Return a date, or the day in an ISO text; reject numbers, which pydantic would accept."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    return parse_day(str(value))


Day = Annotated[date, BeforeValidator(_day)]


class Replay(BaseModel):
    """A mapping of past sessions to present ones, so that a next day arrives in the example.

    The session of New York on ``since`` (or the first one after) shows the prices of ``shows`` (or
    of the first trading day after); each later session shows the next trading day. Dates are
    present ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Day
    shows: Day


class MarketDataPipeline(Pipeline):
    """Daily closing prices from the package skfolio: stocks, the S&P 500 index, or factor ETFs.

    ``us_stocks`` are 20 US stocks, adjusted, 1990 to 2022; ``sp500`` is the index (symbol
    ``SP500``) over the same time; ``factors`` are five ETFs, 2014 to 2022. The publisher gives
    them for testing and examples only.
    """

    name = "market_data"
    version = "1.0.0"
    output_schema: ClassVar[dict[str, str]] = {
        "date": "Date",
        "symbol": "String",
        "close": "Float64",
    }
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(max_upstreams=0)

    class Config(Pipeline.Config):
        """Parameters of the pipeline."""

        source: Literal["us_stocks", "sp500", "factors"] = "us_stocks"
        symbols: tuple[str, ...] = Field(
            default=(), description="Symbols to read; empty: all of the source."
        )
        start_date: Day | None = Field(default=None, description="First date; empty: no limit.")
        end_date: Day | None = Field(default=None, description="Last date; empty: no limit.")
        replay: Replay | None = Field(
            default=None,
            description="Date past sessions as present ones: {since: DATE, shows: PAST DATE}.",
        )

        @model_validator(mode="after")
        def _dates_in_order(self) -> Self:
            if self.start_date and self.end_date and self.start_date > self.end_date:
                raise ValueError("start_date is after end_date")
            return self

    config: Config

    @property
    def data_frequency(self) -> str | None:
        """Return ``daily`` if the data are replayed; packaged data never get newer."""
        return "daily" if self.config.replay else None

    def list_symbols(self) -> tuple[str, ...]:
        """Return the chosen symbols, or all of the source."""
        return self.config.symbols or tuple(_symbols(_path(self.config.source)))

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return problems for any upstream, and for symbols that the source does not have."""
        problems = super().check(upstreams)
        known = _symbols(_path(self.config.source))
        for place, symbol in enumerate(self.config.symbols):
            if symbol not in known:
                message = (
                    f"{self.config.source!r} has no symbol {symbol!r}"
                    f"{suggest_closest(symbol, known)} (there are {', '.join(known)})"
                )
                problems.append(Problem(f"config.symbols[{place}]", message))
            elif symbol in self.config.symbols[:place]:
                problems.append(Problem(f"config.symbols[{place}]", f"{symbol!r} is there twice"))
        return problems

    def extract(
        self,
        context: ExtractContext,
        inputs: Sequence[Input],  # noqa: ARG002 - it has no upstreams
        since: date | None,
    ) -> Extract:
        """Return closes from ``since`` or ``start_date`` to ``context.as_of`` or else ``end_date``.

        An ``as_of`` may be later than ``end_date``: that is how a next day arrives. An ``as_of``
        before ``since`` takes the dataset back: the extract is then complete. Without ``as_of``,
        data already stored beyond ``end_date`` stay: the extract is empty. Raises ``InvalidSpec``
        for the problems of ``check``, ``DataRejected`` if a complete extract has no data.
        """
        problems = self.check([])
        if problems:
            raise InvalidSpec(problems)
        last = context.as_of or self.config.end_date or date.max
        closes = self._closes()
        if self.config.replay is not None:
            closes = _replayed(closes, self.config.replay, context.now)
        if since is not None and context.as_of is not None and last < since:
            since = None
        first = max(self.config.start_date or date.min, since or date.min)
        # The interval is empty if ``last`` is before ``first``: there is nothing newer.
        frame = closes.filter(pl.col("date").is_between(first, last))
        if since is None and not frame.height:
            raise DataRejected(f"{self.config.source!r} has no data from {first} to {last}")
        return Extract(frame, complete=since is None)

    def _closes(self) -> pl.DataFrame:
        wide = pl.read_csv(_path(self.config.source), schema_overrides={"Date": pl.Date})
        symbols = self.config.symbols or tuple(wide.columns[1:])
        long = wide.unpivot(symbols, index="Date", variable_name="symbol", value_name="close")
        return long.rename({"Date": "date"}).cast({"close": pl.Float64}).drop_nulls("close")


def _replayed(closes: pl.DataFrame, replay: Replay, now: datetime) -> pl.DataFrame:
    """Return the closes under present dates, for the sessions that have closed by ``now``."""
    days = closes["date"].unique().sort().to_list()
    anchor = bisect_left(days, replay.shows)
    dates = dict(zip(reversed(days[:anchor]), _sessions(replay.since, -1), strict=False))
    for day, session in zip(days[anchor:], _sessions(replay.since, 1), strict=False):
        hours = session_hours(EXCHANGE, session)
        if hours is None or hours[1] > now:
            break
        dates[day] = session
    mapped = pl.DataFrame(
        {"date": list(dates), "today": list(dates.values())},
        schema={"date": pl.Date, "today": pl.Date},
    )
    joined = closes.join(mapped, on="date").drop("date").rename({"today": "date"})
    return joined.select(closes.columns)


def _sessions(since: date, step: int) -> Iterator[date]:
    """Yield sessions in sequence, forward or backward from ``since``."""
    day = since if step > 0 else since - timedelta(days=1)
    while True:
        if session_hours(EXCHANGE, day) is not None:
            yield day
        day += timedelta(days=step)


def _path(source: str) -> Path:
    """Return the path of the packaged file without importing skfolio, which takes seconds."""
    spec = find_spec("skfolio")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / _FILES[source]
        if path.is_file():
            return path
    detail = f"the installed skfolio has no {_FILES[source]}; install skfolio 1.0"
    raise DefinitionUnavailable(
        MarketDataPipeline.kind, MarketDataPipeline.name, MarketDataPipeline.version, detail
    )


def _symbols(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return next(csv.reader(lines))[1:]
