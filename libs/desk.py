"""Reading from Python: what notebooks and applications call.

Nothing here changes anything, but that ``audit`` stores its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.core.dates import parse_day
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.definitions.accessor import Query
from prefect_instances.libs.quant.tear_sheet import HORIZONS, QUANTILES, TearSheet
from prefect_instances.libs.services.procedures.tear_sheets import read_tear_sheet
from prefect_instances.libs.services.rendering.tear_sheets import render_page, render_tear_sheet
from prefect_instances.libs.services.views.outputs import OutputVersion, list_versions, read_output
from prefect_instances.libs.wiring import connect_to_read

if TYPE_CHECKING:
    import polars as pl
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]  # it ships no types

    from prefect_instances.libs.services.rendering.tables import Table
    from prefect_instances.libs.services.runs.look_ahead import Certificate
    from prefect_instances.libs.services.views.comparing import VersionComparison
    from prefect_instances.libs.services.views.run_reports import RunReport
    from prefect_instances.libs.services.views.tabulating import Lineage


LEAST_QUANTILES = 2


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
    accessor. ``columns`` and ``symbols`` limit the rest, one name or several; the key columns
    always come along.

    Uses the home or the database that ``INSTANCES_HOME`` or ``INSTANCES_DATABASE_URL`` names, and
    changes nothing. Raises NotFound for an unknown name or version, InvalidSpec for a date that is
    none, a start after the end and an unknown symbol, DataRejected for an unknown column.
    """
    query = build_query(as_of, known_at, columns, symbols, start, end)
    with connect_to_read() as services:
        return read_output(services, name, query, version)


def versions(name: str) -> list[OutputVersion]:
    """List every version of an instance's output, newest first; raise NotFound for the name."""
    with connect_to_read() as services:
        return list_versions(services, name)


def compare(name: str, before: int | str, after: int | str) -> VersionComparison:
    """Compare two versions of an instance's output: rows added, removed and changed, and columns.

    ``before`` and ``after`` are generations or ids of versions. Every stored row counts, also those
    that the accessor hides. Raises NotFound for an unknown name or version.
    """
    from prefect_instances.libs.services.views.comparing import compare_versions

    with connect_to_read() as services:
        return compare_versions(services, name, before, after)


def status(name: str | None = None, project: str | None = None) -> Table:
    """Return the status of every flow as a table: of all instances, one, or those of a project.

    Raises NotFound for an unknown name.
    """
    from prefect_instances.libs.services.views import reports
    from prefect_instances.libs.services.views.tabulating import tabulate_status

    with connect_to_read() as services:
        return tabulate_status(reports.status(services.database, services.now(), name, project))


def runs(name: str, limit: int = 100) -> Table:
    """Return the newest runs of an instance as a table, at most ``limit``.

    Raises NotFound for an unknown name.
    """
    from prefect_instances.libs.services.views import reports
    from prefect_instances.libs.services.views.tabulating import tabulate_runs

    with connect_to_read() as services:
        return tabulate_runs(reports.runs(services.database, name, limit), name)


def lineage(name: str | None = None) -> Lineage:
    """Return which flow reads from which: all, or what is up- and downstream of an instance.

    Raises NotFound for an unknown name.
    """
    from prefect_instances.libs.services.views import reports
    from prefect_instances.libs.services.views.tabulating import build_lineage

    with connect_to_read() as services:
        return build_lineage(reports.lineage(services.database, name), name or "")


def model(name: str, alias: str = "champion") -> Any:
    """Load the fitted model behind an alias, for example a scikit-learn estimator.

    Loading runs code that the training stored, so it is for models that you trust. Raises NotFound
    for an unknown name and for an alias without a version, PermanentError if the instance is no
    model.
    """
    from prefect_instances.libs.services.views.models import load_model

    with connect_to_read() as services:
        return load_model(services, name, alias)


def report(name: str, flow: str = "", run: str = "") -> RunReport:
    """Return what the newest successful run of an instance reported: numbers, tables and plots.

    ``flow`` is the kind of flow: a model has ``training`` (the default), ``inference`` and
    ``monitoring`` (drift). ``run`` is the id of a run, instead of the newest. The pages come from
    Prefect; without it only the numbers are there. Waits up to 30 seconds for a run that still
    writes its pages. Raises NotFound for an unknown name or run and if no run has succeeded,
    InvalidSpec for a kind of flow that the instance does not have.
    """
    from prefect_instances.libs.services.views.run_reports import build_report

    with connect_to_read() as services:
        return build_report(services, name, flow, run)


def plot(  # one argument for each limit of a reader
    name: str,
    *,
    version: int | str | None = None,
    as_of: date | str | None = None,
    columns: Iterable[str] | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
) -> Figure:
    """Draw the output of an instance as a plotly figure; a notebook shows it.

    A dataset: its fields by symbol (``close`` alone, if it has one). A signal, an experiment and
    the predictions of a model: values and coverage, the number of symbols with a value. A backtest:
    equity and drawdown. An optimizer: weights. More than 25 symbols are drawn as quantiles. The
    arguments are those of ``read``. Raises as ``read``, and DataRejected if there is nothing to
    draw.
    """
    from prefect_instances.libs.services.views.plotting import plot_output

    query = build_query(as_of, None, columns, symbols, start, end)
    with connect_to_read() as services:
        return plot_output(services, name, query, version)


def build_query(
    as_of: date | str | None = None,
    known_at: datetime | str | None = None,
    columns: Iterable[str] | None = None,
    symbols: Iterable[str] | None = None,
    start: date | str | None = None,
    end: date | str | None = None,
) -> Query:
    """Build a query from dates or texts; raise InvalidSpec with every problem of them."""
    problems: list[Problem] = []
    days = {
        path: _read_day(path, value, problems)
        for path, value in (("as_of", as_of), ("start", start), ("end", end))
    }
    moment = _read_moment("known_at", known_at, problems)
    fields = _list_names("columns", columns, problems)
    wanted = _list_names("symbols", symbols, problems)
    if days["start"] and days["end"] and days["start"] > days["end"]:
        problems.append(Problem("start", f"is after the end, {days['end']}"))
    if problems:
        raise InvalidSpec(problems)
    return Query(**days, knowledge_time=moment, columns=fields, symbols=wanted)


def _list_names(path: str, names: object, problems: list[Problem]) -> tuple[str, ...] | None:
    """Return the names; one text is one name, not its letters."""
    if names is None:
        return None
    listed = [names] if isinstance(names, str) else names
    found = tuple(listed) if isinstance(listed, Iterable) else (None,)
    if not all(isinstance(name, str) for name in found):
        problems.append(Problem(path, "must be a name or a list of names"))
    return found


def _read_day(path: str, value: object, problems: list[Problem]) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    try:
        return parse_day(value if isinstance(value, str) else "")
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return None


def _read_moment(path: str, value: object, problems: list[Problem]) -> datetime | None:
    moment = value
    if isinstance(value, str):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        problems.append(Problem(path, "must be a time like 2024-01-31T18:00:00+00:00"))
        return None
    if moment.tzinfo is None:
        problems.append(Problem(path, "must have a time zone"))
    return moment


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
    for the name, InvalidSpec for the numbers, DataRejected where nothing is published or no
    upstream has prices.
    """
    if problems := list(_check_judging(horizons, quantiles)):
        raise InvalidSpec(problems)
    with connect_to_read() as services:
        figures = read_tear_sheet(
            services, name, horizons=horizons, quantiles=quantiles, price_column=price_column
        )
    return SignalReport(name, figures)


def _check_judging(horizons: object, quantiles: object) -> Iterator[Problem]:
    listed = list(horizons) if isinstance(horizons, Sequence) else []
    if not listed or not all(isinstance(bars, int) and bars > 0 for bars in listed):
        yield Problem("horizons", "must be a list of whole numbers of bars, 1 or more")
    elif len(set(listed)) < len(listed):
        yield Problem("horizons", "must not name a number of bars twice")
    if not isinstance(quantiles, int) or quantiles < LEAST_QUANTILES:
        yield Problem("quantiles", f"must be a whole number, {LEAST_QUANTILES} or more")


def audit(name: str, *, seed: int | None = None, points: int = 5) -> Certificate:
    """Check that no value of an instance's output depends on data of later dates.

    The output is computed again on inputs whose rows after ``points`` random dates are absent,
    shuffled or restated; up to each date it must stay the same, bit for bit. ``seed`` repeats a
    choice of dates. The result is stored with the current version; nothing else changes. Raises
    NotFound for the name, InvalidSpec for the numbers, NotAuditable where nothing is published, or
    nothing that could be altered is read.
    """
    from prefect_instances.libs.services.runs.look_ahead import audit_instance

    limits = (("seed", seed, 0), ("points", points, 1))
    problems = [
        Problem(path, f"must be at least {least}")
        for path, value, least in limits
        if value is not None and value < least
    ]
    if problems:
        raise InvalidSpec(problems)
    with connect_to_read() as services:
        return audit_instance(services, name, seed=seed, points=points)
