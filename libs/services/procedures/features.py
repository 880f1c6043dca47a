"""Features and targets of models: what was known on each date, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from prefect_instances.libs.quant.prices import is_usable
from prefect_instances.libs.services.procedures.panels import get_input
from prefect_instances.libs.services.runs.run_context import Job
from prefect_instances.libs.specs import ModelSpec

if TYPE_CHECKING:
    import polars as pl

TARGET = "realised"
LABEL_END = "label_end"
"""Column of the date on which a label is known: the date of the price that it ends with."""

MIN_ROWS = 30
"""How many rows training and validation need at least."""


@dataclass(frozen=True)
class Split:
    """Labelled rows for training and, after the embargo, for validation; by date, symbol."""

    training: pl.DataFrame
    validation: pl.DataFrame

    @property
    def predict_from(self) -> date:
        """The first date of the validation rows; training uses no data from this date on."""
        first = self.validation["date"].min()
        assert isinstance(first, date)
        return first


def get_model_spec(job: Job) -> ModelSpec:
    """Return the model's spec."""
    assert isinstance(job.spec, ModelSpec)
    return job.spec


def list_features(spec: ModelSpec) -> tuple[str, ...]:
    """List the feature names ``role.column`` or ``role.column.lag``, in the order of the spec."""
    return tuple(
        f"{item.role}.{item.column}" + (f".{lag}" if lag else "")
        for item in spec.features
        for lag in item.lags
    )


def build_features(job: Job) -> pl.DataFrame:
    """Build the rows (date x symbol) with one column a feature, where all features are finite.

    A lag counts the symbol's sessions in its own upstream; in an upstream that is read
    point-in-time, it counts the sessions of the target. No feature uses data after its date.
    """
    import polars as pl

    spec = get_model_spec(job)
    frame = _target_rows(job).select("date", "symbol").collect()
    names = iter(list_features(spec))
    for item in spec.features:
        rows = (
            get_input(job, item.role).known_on(frame["date"]).select("date", "symbol", item.column)
        )
        value = pl.col(item.column).cast(pl.Float64)
        lagged = rows.sort("symbol", "date").select(
            "date",
            "symbol",
            *(value.shift(lag).over("symbol").alias(next(names)) for lag in item.lags),
        )
        frame = frame.join(lagged.collect(), on=["date", "symbol"], how="left")
    known = [pl.col(name).is_finite().fill_null(value=False) for name in list_features(spec)]
    return frame.filter(*known).sort("date", "symbol")


def build_targets(job: Job) -> pl.DataFrame:
    """Return (date, symbol, realised, label_end): the return that followed each date, and its end.

    The horizon counts the symbol's own rows with a usable price, so a label of a symbol that is
    quoted seldom ends later than that of one quoted daily.
    """
    target = get_model_spec(job).target
    return build_labels(_target_rows(job), target.column, target.horizon).collect()


def build_labels(rows: pl.LazyFrame, column: str, horizon: int) -> pl.LazyFrame:
    """Label each (date, symbol, column) with the return over the next ``horizon`` rows of a symbol.

    ``rows`` hold usable prices only. Rows too new to have a label are left out.
    """
    import polars as pl

    level = pl.col(column).cast(pl.Float64)
    later = level.shift(-horizon).over("symbol")
    end = pl.col("date").shift(-horizon).over("symbol").alias(LABEL_END)
    labelled = rows.sort("symbol", "date").select(
        "date", "symbol", (later / level - 1.0).alias(TARGET), end
    )
    return labelled.filter(pl.col(TARGET).is_finite())


def _target_rows(job: Job) -> pl.LazyFrame:
    """Read the target's rows with a usable price; other rows count as absent."""
    import polars as pl

    target = get_model_spec(job).target
    frame = get_input(job, target.role).frame.select("date", "symbol", target.column)
    return frame.filter(is_usable(pl.col(target.column).cast(pl.Float64)))


def label_rows(job: Job, known: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that have a label, with it, by date and symbol."""
    targets = build_targets(job)
    return known.join(targets, on=["date", "symbol"], how="inner").sort("date", "symbol")


def split_purged(rows: pl.DataFrame, validation: float, embargo: int) -> Split:
    """Split (date, symbol, label_end, ...) by time, so that no label reaches into the other part.

    ``validation`` is the share of dates, the newest ones, in the validation part. Of the rows
    before it, those of the last ``embargo`` dates are dropped, and those whose label ends on or
    after the first validation date (López de Prado 2018, 7.4.1).
    """
    import polars as pl

    dates = rows["date"].unique().sort().to_list()
    held_out = max(1, round(len(dates) * validation))
    learned, judged = _parts(dates, held_out, embargo)
    is_over = pl.col(LABEL_END) < judged[0] if judged else pl.lit(value=False)
    return Split(
        rows.filter(pl.col("date").is_in(learned) & is_over),
        rows.filter(pl.col("date").is_in(judged)),
    )


def _parts(dates: Sequence[date], held_out: int, gap: int) -> tuple[list[date], list[date]]:
    end = max(0, len(dates) - held_out - gap)
    return list(dates[:end]), list(dates[len(dates) - held_out :])
