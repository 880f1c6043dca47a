"""Reading outputs from Python: what notebooks and applications call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_instances.libs.core.dates import parse_day
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.definitions.accessor import Query
from prefect_instances.libs.quant.tear_sheet import HORIZONS, QUANTILES, TearSheet
from prefect_instances.libs.services.procedures.tear_sheets import read_tear_sheet
from prefect_instances.libs.services.rendering.tear_sheets import render_page, render_tear_sheet
from prefect_instances.libs.services.views.outputs import OutputVersion, list_versions, read_output
from prefect_instances.libs.wiring import connect

if TYPE_CHECKING:
    import polars as pl


def read(  # noqa: PLR0913  # one argument for each limit of a reader
    name: str,
    *,
    version: int | str | None = None,
    as_of: date | str | None = None,
    known_at: datetime | str | None = None,
    columns: Iterable[str] | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
) -> pl.LazyFrame:
    """Return the output of an instance as a lazy frame: date, symbol, and a column for each field.

    ``name`` is ``name`` or ``project/name``. ``version`` is a generation or a version's id, None
    the current one. ``as_of`` and ``end`` are the last date wanted, ``start`` the first: dates or
    ISO texts. ``known_at`` (an aware time) asks for what was known then; it needs a point-in-time
    accessor. ``columns`` and ``symbols`` limit the rest; the key columns always come along.

    Uses the home or the database that ``INSTANCES_HOME`` or ``INSTANCES_DATABASE_URL`` names, and
    changes nothing. Raises NotFound for an unknown name or version, InvalidSpec for a date that is
    none, DataRejected for an unknown column.
    """
    query = build_query(as_of, known_at, columns, symbols, start, end)
    with connect() as services:
        return read_output(services, name, query, version)


def versions(name: str) -> list[OutputVersion]:
    """List every version of an instance's output, newest first; raise NotFound for the name."""
    with connect() as services:
        return list_versions(services, name)


def build_query(
    as_of: date | str | None = None,
    known_at: datetime | str | None = None,
    columns: Iterable[str] | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
) -> Query:
    """Build a query from dates or texts; raise InvalidSpec with every text that is no date."""
    problems: list[Problem] = []
    days = {
        path: _read_day(path, value, problems)
        for path, value in (("as_of", as_of), ("start", start), ("end", end))
    }
    moment = known_at
    if isinstance(known_at, str):
        try:
            moment = datetime.fromisoformat(known_at)
        except ValueError:
            problems.append(Problem("known_at", "must be a time like 2024-01-31T18:00:00+00:00"))
    if isinstance(moment, datetime) and moment.tzinfo is None:
        problems.append(Problem("known_at", "must have a time zone"))
    if problems:
        raise InvalidSpec(problems)
    return Query(
        **days,
        knowledge_time=moment if isinstance(moment, datetime) else None,
        columns=None if columns is None else tuple(columns),
        symbols=None if symbols is None else tuple(symbols),
    )


def _read_day(path: str, value: date | str | None, problems: list[Problem]) -> date | None:
    if not isinstance(value, str):
        return value
    try:
        return parse_day(value)
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return None


@dataclass(frozen=True, slots=True)
class SignalReport:
    """The tear sheet of a signal; a notebook shows it with its plots."""

    name: str
    figures: TearSheet

    def __repr__(self) -> str:
        """Return one line: what was judged, and how much of it there is."""
        sheet = self.figures
        known = f"{sheet.coverage:.1%} of them with a value"
        return f"{self.name}: {sheet.bars:,} bars, {sheet.assets:,} assets, {known}"

    def _repr_markdown_(self) -> str:
        return f"## {self.name}\n\n{render_tear_sheet(self.figures)}"

    def save(self, path: Path | str) -> Path:
        """Write a page that needs no internet (``.html``), or its Markdown; return its path."""
        target, text = Path(path), self._repr_markdown_()
        page = render_page(self.name, text) if target.suffix == ".html" else text
        target.write_text(page, encoding="utf-8")
        return target


def tear_sheet(
    name: str,
    *,
    horizons: Sequence[int] = HORIZONS,
    quantiles: int = QUANTILES,
    price_column: str = "close",
) -> SignalReport:
    """Judge the current values of a signal by the returns that follow.

    ``horizons`` are in bars of the signal's own symbols. The prices are those of the nearest
    upstream that has ``price_column``. Other signals of the project are compared. Raises NotFound
    for the name, DataRejected where nothing is published or no upstream has prices.
    """
    with connect() as services:
        figures = read_tear_sheet(
            services, name, horizons=horizons, quantiles=quantiles, price_column=price_column
        )
    return SignalReport(name, figures)
