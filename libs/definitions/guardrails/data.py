"""Contracts on data: columns, age, values, and knowledge times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from pydantic import Field

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.definitions.guardrails.contract import (
    Evidence,
    Gate,
    Guardrail,
    InputFacts,
    Violation,
)

if TYPE_CHECKING:
    import polars as pl

KNOWLEDGE = "knowledge_time"
"""As in ``libs.definitions.content``, which imports polars."""

SAMPLE = 5
"""Maximum number of offending rows in a report."""


class DatasetSchema(Guardrail):
    """``dataset.schema``: required columns and a minimum number of rows.

    At ``data.write`` it judges the data to be written, at ``run.start`` and ``instance.create`` the
    upstreams (of one role, if ``role`` is set).
    """

    name = "dataset.schema"
    gates = (Gate.WRITE, Gate.START, Gate.CREATE)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        columns: dict[str, str] = Field(
            default_factory=dict,
            description="Column: polars type (Float64, String, Date, ...), or empty for any.",
        )
        exact: bool = Field(default=False, description="Whether other columns are refused.")
        min_rows: int = Field(default=0, ge=0, description="Fewest rows, at data.write.")
        role: str = Field(default="", description="Which upstreams are judged; empty: all.")

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return False for a run that publishes a model, which has no rows; otherwise True."""
        return evidence.gate is not Gate.WRITE or evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        if evidence.frame is not None:
            yield from self._columns(evidence.instance, _types(evidence.frame.schema))
            rows = evidence.frame.height + evidence.kept_rows
            if rows < self.config.min_rows:
                text = f"{rows} rows, at least {self.config.min_rows} are wanted"
                yield Violation(text, {"rows": rows})
            return
        for item in evidence.in_role(self.config.role):
            if item.frame is not None:
                yield from self._columns(item.resource, _types(item.frame().collect_schema()))
            elif item.columns is not None:
                yield from self._columns(item.resource, dict.fromkeys(item.columns, ""))

    def _columns(self, resource: str, found: Mapping[str, str]) -> Iterable[Violation]:
        wanted = self.config.columns
        missing = [column for column in wanted if column not in found]
        other = {
            column: found[column]
            for column, type_ in wanted.items()
            if found.get(column) and type_ and not found[column].startswith(type_)
        }
        if missing:
            text = f"{resource} has no column {', '.join(missing)}"
            yield Violation(text, {"missing": missing, "columns": list(found)})
        for column, type_ in other.items():
            yield Violation(f"{resource}.{column} is {type_}, not {wanted[column]}")
        surplus = [column for column in found if column not in wanted]
        if self.config.exact and surplus:
            yield Violation(f"{resource} has unknown columns: {', '.join(surplus)}")


def _types(schema: pl.Schema) -> dict[str, str]:
    return {column: str(type_) for column, type_ in schema.items()}


class DatasetFreshness(Guardrail):
    """``dataset.freshness``: a maximum age in days of the newest data.

    Days are counted to the day that a run was requested for, or to the present day. At
    ``run.start`` and ``instance.create`` it judges the upstreams, at ``data.write`` the data to be
    written.
    """

    name = "dataset.freshness"
    gates = (Gate.START, Gate.WRITE, Gate.CREATE)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        max_age_days: int = Field(ge=0, description="Highest age of the newest data, in days.")
        role: str = Field(default="", description="Which upstreams are judged; empty: all.")

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return False for a run that publishes a model, which has no rows; otherwise True."""
        return evidence.gate is not Gate.WRITE or evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        if evidence.gate is Gate.WRITE:
            yield from self._age(evidence.instance, _newest(evidence.frame), evidence.today)
            return
        for item in evidence.in_role(self.config.role):
            if item.columns is not None:
                yield from self._age(item.resource, item.last_date, evidence.today)

    def _age(self, resource: str, newest: date | None, today: date) -> Iterable[Violation]:
        if newest is None:
            yield Violation(f"{resource} has no dated rows")
            return
        age = (today - newest).days
        if age > self.config.max_age_days:
            text = f"{resource} ends on {newest}, {age} days before {today}"
            limit = self.config.max_age_days
            yield Violation(
                f"{text}; at most {limit} are allowed",
                {"newest": str(newest), "age_days": age, "max_age_days": limit},
            )


def _newest(frame: pl.DataFrame | None) -> date | None:
    if frame is None or not frame.height or "date" not in frame.columns:
        return None
    newest = frame.get_column("date").max()
    return newest if isinstance(newest, date) else None


class SignalBounds(Guardrail):
    """``signal.bounds``: values within bounds, and a limited share of missing values.

    Unlike the contract of a signal it may tolerate a share of values outside the bounds, and only
    warn.
    """

    name = "signal.bounds"
    gates = (Gate.WRITE,)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        column: str = Field(default="value", description="Which column is judged.")
        min_value: float | None = Field(default=None, description="Lowest value.")
        max_value: float | None = Field(default=None, description="Highest value.")
        max_share_outside: float = Field(
            default=0.0, ge=0, le=1, description="Share of the values that may lie outside."
        )
        max_share_missing: float = Field(
            default=1.0, ge=0, le=1, description="Share of the values that may be missing."
        )

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return True if the evidence has rows."""
        return evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        import polars as pl

        asked, frame = self.config, evidence.frame
        assert frame is not None
        if asked.column not in frame.columns:
            yield Violation(f"there is no column {asked.column}", {"columns": frame.columns})
            return
        values = frame.with_columns(pl.col(asked.column).cast(pl.Float64).fill_nan(None))
        if not values.height:
            return
        missing = values[asked.column].null_count()
        if missing > asked.max_share_missing * values.height:
            text = f"{missing} of {values.height} values are missing"
            yield Violation(text, {"missing": missing, "rows": values.height})
        low, high = asked.min_value, asked.max_value
        beyond = pl.lit(value=False)
        if low is not None:
            beyond |= pl.col(asked.column) < low
        if high is not None:
            beyond |= pl.col(asked.column) > high
        outside = values.filter(beyond)
        if outside.height > asked.max_share_outside * values.height:
            text = f"{outside.height} of {values.height} values lie outside {_range(low, high)}"
            sample = [
                {k: str(v) for k, v in row.items()} for row in outside.head(SAMPLE).to_dicts()
            ]
            yield Violation(text, {"outside": outside.height, "sample": sample})


def _range(low: float | None, high: float | None) -> str:
    return f"[{'' if low is None else f'{low:g}'}, {'' if high is None else f'{high:g}'}]"


class PointInTimePolicy(Guardrail):
    """``pit.policy``: data record when they became known, and contain nothing from the future.

    At ``instance.create`` the upstreams must have an accessor that can limit reads by knowledge
    time; at ``run.start`` the rows that the run reads must also have been known by then. At
    ``data.write`` no row may be dated, or known, after the day of the run, nor known before its own
    date; with ``require_knowledge_time`` the column must be there.
    """

    name = "pit.policy"
    gates = (Gate.START, Gate.CREATE, Gate.WRITE)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        role: str = Field(default="", description="Which upstreams are judged; empty: all.")
        require_knowledge_time: bool = Field(
            default=True, description="Whether the output must have a column knowledge_time."
        )

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return False for a run that publishes a model, which has no rows; otherwise True."""
        return evidence.gate is not Gate.WRITE or evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        if evidence.gate is Gate.WRITE:
            assert evidence.frame is not None
            yield from self._written(evidence, evidence.frame)
            return
        for item in evidence.in_role(self.config.role):
            if item.point_in_time is False:
                yield Violation(f"{item.resource} is not read point-in-time")
            elif evidence.gate is Gate.START and item.frame is not None:
                yield from self._read(evidence, item)

    def _read(self, evidence: Evidence, item: InputFacts) -> Iterable[Violation]:
        import polars as pl

        assert item.frame is not None
        frame = item.frame()
        if KNOWLEDGE not in frame.collect_schema().names():
            yield Violation(f"{item.resource} has no {KNOWLEDGE}")
            return
        later = frame.filter(pl.col(KNOWLEDGE) > evidence.now).select(pl.len()).collect().item()
        if later:
            yield Violation(f"{later} rows of {item.resource} were not known yet", {"rows": later})

    def _written(self, evidence: Evidence, frame: pl.DataFrame) -> Iterable[Violation]:
        import polars as pl

        future = frame.filter(pl.col("date") > evidence.today).height
        if future:
            yield Violation(f"{future} rows are dated after {evidence.today}", {"rows": future})
        if KNOWLEDGE not in frame.columns:
            if self.config.require_knowledge_time:
                yield Violation(f"there is no {KNOWLEDGE}", {"columns": frame.columns})
            return
        known = pl.col(KNOWLEDGE)
        unknown = frame.filter(known.is_null() | (known > evidence.now)).height
        if unknown:
            yield Violation(f"{unknown} rows were not known yet", {"rows": unknown})
        early = frame.filter(known.dt.date() < pl.col("date")).height
        if early:
            yield Violation(f"{early} rows were known before their own date", {"rows": early})


MAX_LOSS = 0.01
"""Default share of the current version that a new one may lose."""


class DatasetContinuity(Guardrail):
    """``dataset.continuity``: a new version contains what the current one contains.

    Dates, symbols, rows by their date and symbol, and the values of each column are counted
    separately. A column that is missing, or has another type that is not wider, is a loss at any
    tolerance. A run that accepts a loss, is as of a past day, or is the first one after a change of
    the configuration is not judged; nor is one that only adds rows.
    """

    name = "dataset.continuity"
    gates = (Gate.WRITE,)
    flows = (FlowKind.REFRESH,)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        max_loss: float = Field(
            default=MAX_LOSS,
            ge=0,
            le=1,
            description="Share of dates, symbols, rows or values that a new version may lack of "
            "the current one.",
        )

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return True if there are new rows, and rows that they should still contain."""
        if evidence.frame is None or evidence.before is None:
            return False
        return super().judges(evidence)

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        from prefect_instances.libs.definitions.continuity import find_losses

        assert evidence.frame is not None
        assert evidence.before is not None
        before = evidence.before()
        found = find_losses(before, evidence.frame, self.config.max_loss)
        if found:
            yield Violation(
                f"the new version would lose what the current one has: {'; '.join(found)}. If that "
                "is right, run again with accept_loss",
                {"losses": found, "rows": [before.height, evidence.frame.height]},
            )


class UsablePrices(Guardrail):
    """``dataset.prices``: prices are usable, that is finite and above zero.

    Missing, NaN, infinite, zero and negative prices are unusable. At ``data.write`` it judges the
    data to be written, at ``run.start`` the upstreams.
    """

    name = "dataset.prices"
    gates = (Gate.WRITE, Gate.START)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        columns: list[str] = Field(
            default_factory=list,
            description="Columns of prices; empty: those named open, high, low, close, adj_close, "
            "adjusted_close, price or vwap.",
        )
        allow_missing: bool = Field(
            default=False, description="Whether empty cells and NaN are allowed."
        )
        max_share_unusable: float = Field(
            default=0.0, ge=0, le=1, description="Share of a column's prices that may be unusable."
        )
        role: str = Field(default="", description="Which upstreams are judged; empty: all.")

    config: Config

    def judges(self, evidence: Evidence) -> bool:
        """Return False for a run that publishes a model, which has no rows; otherwise True."""
        return evidence.gate is not Gate.WRITE or evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        if evidence.frame is not None:
            yield from self._rows(evidence.instance, evidence.frame.lazy())
            return
        for item in evidence.in_role(self.config.role):
            if item.frame is not None:
                yield from self._rows(item.resource, item.frame())

    def _rows(self, resource: str, frame: pl.LazyFrame) -> Iterable[Violation]:
        from prefect_instances.libs.quant.prices import price_fields

        schema = frame.collect_schema()
        columns = self.config.columns or price_fields(schema.names())
        if not columns:
            there = ", ".join(schema)
            yield Violation(f"{resource} has no column of prices (there are {there})")
        numeric = [name for name in columns if name in schema and schema[name].is_numeric()]
        for name in columns:
            if name not in schema:
                yield Violation(f"{resource} has no column {name}", {"columns": schema.names()})
            elif name not in numeric:
                yield Violation(f"{resource}.{name} is {schema[name]}, not a number")
        yield from self._counted(resource, frame, numeric)

    def _counted(
        self, resource: str, frame: pl.LazyFrame, columns: Sequence[str]
    ) -> Iterable[Violation]:
        from prefect_instances.libs.quant.prices import count_unusable

        rows, counts = count_unusable(frame, columns)
        for name, found in counts.items():
            if self.config.allow_missing:
                found.pop("missing", None)
            bad = sum(found.values())
            if bad > self.config.max_share_unusable * rows:
                kinds = ", ".join(f"{count} {kind}" for kind, count in found.items())
                yield Violation(
                    f"{bad} of {rows} prices of {resource}.{name} are not usable: {kinds}",
                    {"column": name, "rows": rows, **found},
                )
