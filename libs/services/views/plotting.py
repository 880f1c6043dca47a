"""The figure of an instance's output, by its type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.db.repositories.resources import Named, get_instance
from prefect_instances.libs.definitions.accessor import Query
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views.outputs import read_output

if TYPE_CHECKING:
    import polars as pl

MOST_FIELDS = 4
"""How many fields are drawn if none is asked for."""

FIRST = ("close", "value", "prediction")
"""Fields that are drawn alone, if none is asked for and the output has one of them."""

Draw = Callable[[str, "pl.DataFrame"], Any]


def plot_output(
    services: Services, name: str, query: Query, version: int | str | None = None
) -> Any:
    """Return the plotly figure of an instance's output.

    A dataset: fields by symbol. A signal, an experiment or the predictions of a model: values and
    coverage. A backtest: equity and drawdown. An optimizer: weights. Raises as ``read_output``, and
    DataRejected if there is no row or no number to draw.
    """
    with services.database.read() as session:
        named = get_instance(session, name)
    whole = named.type in (InstanceType.BACKTEST, InstanceType.OPTIMIZER)
    limits = replace(query, columns=None) if whole else query
    frame = read_output(services, named.label, limits, version).collect()
    if frame.is_empty():
        raise DataRejected(f"{named.label} has no rows to plot within these limits")
    return _draw(named, frame, asked=query.columns is not None)


def _draw(named: Named, frame: pl.DataFrame, *, asked: bool) -> Any:
    from prefect_instances.libs.services.rendering import figures

    dates = frame["date"].unique().sort()
    title = f"{named.label}, {dates[0]} to {dates[-1]}"
    if named.type == InstanceType.BACKTEST:
        return figures.draw_backtest(title, frame)
    if named.type == InstanceType.OPTIMIZER:
        return figures.draw_weights(title, frame)
    fields = choose_fields(frame, asked=asked)
    if not fields:
        raise DataRejected(f"{named.label} has no numeric column to plot")
    if named.type == InstanceType.DATASET:
        return figures.draw_fields(title, frame, fields)
    return figures.draw_signal(title, frame, fields)


def choose_fields(frame: pl.DataFrame, *, asked: bool) -> list[str]:
    """Choose the numeric fields to draw: all that were asked for, else the usual or first ones."""
    from prefect_instances.libs.definitions.content import list_field_columns

    numeric = [
        name for name in list_field_columns(frame.columns) if frame.schema[name].is_numeric()
    ]
    usual = [name for name in FIRST if name in numeric][:1]
    return numeric if asked else usual or numeric[:MOST_FIELDS]
