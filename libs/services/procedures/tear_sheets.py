"""The tear sheet of a published signal, or of the values that an experiment has just computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import polars as pl
from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.db.models import DatasetVersion, Resource
from prefect_instances.libs.db.repositories.flows import select_upstream_ids
from prefect_instances.libs.db.repositories.resources import Named, get_instance, select_instances
from prefect_instances.libs.db.repositories.versions import select_current_output
from prefect_instances.libs.definitions.content import list_field_columns
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.quant.tear_sheet import HORIZONS, QUANTILES, TearSheet, judge_signal
from prefect_instances.libs.services.composition.components import open_version
from prefect_instances.libs.services.procedures.panels import (
    VALUE_COLUMNS,
    Panel,
    build_panel,
    read_panel,
    take_bars,
)
from prefect_instances.libs.services.rendering.tear_sheets import render_tear_sheet
from prefect_instances.libs.services.runs.run_context import Job
from prefect_instances.libs.services.state.context import Services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIGNAL = "SignalInstance"
SECTOR = "sector"
"""Column with the group of each symbol, where an upstream has one."""


def judge_panel(  # one argument for each thing that is compared
    values: Panel,
    prices: Panel,
    horizons: Sequence[int] = HORIZONS,
    quantiles: int = QUANTILES,
    sectors: Mapping[str, str] | None = None,
    others: Mapping[str, Panel] | None = None,
    calendar: str = "",
) -> TearSheet:
    """Judge a signal on the bars of its own symbols: the dates on which one has a usable price.

    ``calendar``: take its sessions as bars instead; empty for none. ``sectors``: the sector of each
    symbol. ``others``: panels of other signals, by name.
    """
    bars = take_bars(prices, values.symbols, calendar)
    return judge_signal(
        values.on(bars.dates).values,
        bars.values,
        horizons,
        quantiles,
        [sectors.get(symbol, "none") for symbol in values.symbols] if sectors else (),
        {
            name: panel.limited(values.symbols).on(bars.dates).values
            for name, panel in (others or {}).items()
        },
    )


def read_tear_sheet(
    services: Services,
    name: str,
    *,
    price_column: str = "close",
    horizons: Sequence[int] = HORIZONS,
    quantiles: int = QUANTILES,
) -> TearSheet:
    """Judge the current output of an instance by the prices that it was computed from.

    The prices are those of the nearest upstream with ``price_column``. Other signals of the same
    project are compared. Raises NotFound for the name, DataRejected where nothing is published or
    no upstream has prices.
    """
    with services.database.read() as session:
        named = get_instance(session, name)
        own = _current(session, named.id, named.type)
        if own is None:
            raise DataRejected(f"{named.label} has published nothing yet")
        values = _panel(services, session, own, _value_column(own, named.label))
        priced = next(
            (v for v in _upstream_outputs(session, named.id) if price_column in v.columns), None
        )
        if priced is None:
            raise DataRejected(f"no upstream of {named.label} has a column {price_column!r}")
        prices = _panel(services, session, priced, price_column)
        others = _other_signals(services, session, named)
        sectors = _sectors(services, session, [own, *_upstream_outputs(session, named.id)])
    return judge_panel(values, prices, horizons, quantiles, sectors, others)


def make_page(job: Job, rows: pl.DataFrame, price_column: str = "close") -> Page:
    """Make the page of a run's own values; its inputs have the prices, or the page says so."""
    title = f"## {job.instance.label}"
    priced = [item for item in job.inputs if price_column in item.version.columns]
    if priced:
        values = build_panel(rows.sort("date", "symbol"), "value")
        sheet = judge_panel(values, read_panel(priced[0], price_column))
        body = render_tear_sheet(sheet)
    else:
        body = f"No upstream has a column `{price_column}`: there are no returns to compare with."
    return Page("tear-sheet", "markdown", f"{title}\n\n{body}", "Figures of the signal")


def _current(session: Session, instance_id: UUID, type_: str) -> DatasetVersion | None:
    return select_current_output(session, instance_id, SHAPES[type_].output)


def _upstream_outputs(session: Session, instance_id: UUID) -> Iterator[DatasetVersion]:
    """Yield the current outputs of everything upstream, the nearest first."""
    seen, level = {instance_id}, {instance_id}
    while level:
        above = {up for one in level for up in select_upstream_ids(session, one)}
        level = above - seen
        seen |= level
        for resource in sorted((session.get_one(Resource, one) for one in level), key=_by_name):
            version = _current(session, resource.id, resource.type)
            if version is not None:
                yield version


def _by_name(resource: Resource) -> str:
    return resource.name


def _panel(services: Services, session: Session, version: DatasetVersion, column: str) -> Panel:
    rows = open_version(services, session, version).as_known()
    long = rows.select("date", "symbol", pl.col(column).cast(pl.Float64)).collect()
    return build_panel(long.sort("date", "symbol"), column)


def _value_column(version: DatasetVersion, label: str) -> str:
    present = list_field_columns(list(version.columns))
    known = [name for name in VALUE_COLUMNS if name in present]
    if not known and len(present) != 1:
        raise DataRejected(f"{label} has no column value, but {', '.join(present)}")
    return known[0] if known else present[0]


def _other_signals(services: Services, session: Session, named: Named) -> dict[str, Panel]:
    found = {}
    for other in select_instances(session):
        if (other.type, other.project) != (SIGNAL, named.project) or other.id == named.id:
            continue
        version = _current(session, other.id, other.type)
        if version is not None and "value" in version.columns:
            found[other.name] = _panel(services, session, version, "value")
    return found


def _sectors(
    services: Services, session: Session, versions: Sequence[DatasetVersion]
) -> dict[str, str]:
    """Read the newest sector of each symbol from the first output that has that column."""
    for version in versions:
        if SECTOR in version.columns:
            rows = open_version(services, session, version).as_known()
            known = rows.select("date", "symbol", pl.col(SECTOR).cast(pl.String)).drop_nulls()
            newest = known.sort("date").group_by("symbol").agg(pl.col(SECTOR).last()).collect()
            return dict(newest.iter_rows())
    return {}
