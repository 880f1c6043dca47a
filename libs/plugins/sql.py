"""Pipeline ``sql``: the rows of a query as a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

import polars as pl
from pydantic import Field, field_validator
from sqlalchemy import Date, bindparam, text

from prefect_instances.libs.core.errors import (
    DataRejected,
    NotFound,
    PermanentError,
    Problem,
    Unavailable,
)
from prefect_instances.libs.definitions.base import CompatibilityRules, UpstreamShape
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.problems import closest
from prefect_instances.libs.plugins.sql_blocks import engine_of, sql_errors
from prefect_instances.libs.specs import frequency_fault

if TYPE_CHECKING:
    from sqlalchemy import Connection

SINCE, AS_OF = ":since", ":as_of"
_READS = re.compile(r"\s*(--[^\n]*\n\s*)*(select|with|values)\b", re.IGNORECASE)
_BIND = re.compile(r"(?<![:\w\\]):(\w+)")


class SqlPipeline(Pipeline):
    """A query in a database whose address and password a Prefect block of prefect-sqlalchemy holds.

    It must give a date, a symbol, and a column for each field. Where it mentions ``:since`` it is
    asked for the rows from that date on only; ``:as_of`` is the newest date wanted.
    """

    name = "sql"
    version = "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(max_upstreams=0)
    source_modules: ClassVar[tuple[str, ...]] = ("prefect_instances.libs.plugins.sql_blocks",)

    class Config(Pipeline.Config):
        """Parameters of the pipeline."""

        query: str = Field(
            description="SELECT date, symbol, ... that may use :since and :as_of (dates)."
        )
        block: str = Field(
            min_length=1, description="Prefect block sqlalchemy-connector/NAME of the database."
        )
        date_column: str = "date"
        symbol_column: str = "symbol"
        data_frequency: str = Field(
            default="",
            description=(
                "daily, weekly, weekly:MON, monthly, quarterly; empty: the source is never late."
            ),
        )

        @field_validator("query")
        @classmethod
        def _reads(cls, query: str) -> str:
            if not _READS.match(query):
                raise ValueError("must only read: begin it with SELECT or WITH")
            unknown = sorted({*_BIND.findall(query)} - {SINCE[1:], AS_OF[1:]})
            if unknown:
                raise ValueError(f"has a parameter :{unknown[0]}; known are {SINCE} and {AS_OF}")
            return query

        @field_validator("data_frequency")
        @classmethod
        def _known(cls, frequency: str) -> str:
            if frequency and (fault := frequency_fault(frequency)):
                raise ValueError(fault)
            return frequency

    config: Config

    @property
    def data_frequency(self) -> str | None:
        """What the configuration says: a query does not tell by itself."""
        return self.config.data_frequency or None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """A block that is not there or cannot be used; the query itself is not run.

        Where Prefect cannot be asked nothing is said: the run will find out.
        """
        problems = super().check(upstreams)
        try:
            engine_of(self.config.block)
        except Unavailable:
            return problems
        except (NotFound, PermanentError) as error:
            return [*problems, Problem("config.block", str(error))]
        return problems

    def extract(
        self,
        context: ExtractContext,
        inputs: Sequence[Input],  # noqa: ARG002 - it has no upstreams
        since: date | None,
    ) -> Extract:
        """The rows of the query up to ``context.as_of``; those since ``since`` if it asks so.

        Raises ``Unavailable`` where the database does not answer, ``DataRejected`` where it
        refuses the query or the rows are not what they must be.
        """
        names = _BIND.findall(self.config.query)
        partial = since is not None and SINCE[1:] in names
        frame = self._long(self._rows(since if partial else None, context.as_of, names))
        if context.as_of is not None:
            frame = frame.filter(pl.col("date") <= context.as_of)
        if partial:
            frame = frame.filter(pl.col("date") >= since)
        elif not frame.height:
            until = f" up to {context.as_of}" if context.as_of else ""
            raise DataRejected(f"the query returns no rows{until}")
        return Extract(frame, complete=not partial)

    def _rows(self, since: date | None, as_of: date | None, names: Sequence[str]) -> pl.DataFrame:
        values = {SINCE[1:]: since or date(1, 1, 1), AS_OF[1:]: as_of or date.max}
        used = [bindparam(name, values[name], Date) for name in dict.fromkeys(names)]
        statement = text(self.config.query).bindparams(*used)
        engine = engine_of(self.config.block)
        with sql_errors(f"the database of block {self.config.block!r}"), engine.connect() as reader:
            _forbid_writing(reader)
            found = reader.execute(statement)
            columns = list(found.keys())
            rows = [tuple(row) for row in found]
        _reject_doubles(columns)
        return pl.DataFrame(
            {name: _series(name, [row[at] for row in rows]) for at, name in enumerate(columns)}
        )

    def _long(self, raw: pl.DataFrame) -> pl.DataFrame:
        keys = (self.config.date_column, self.config.symbol_column)
        for key in keys:
            if key not in raw.columns:
                there = ", ".join(raw.columns)
                hint = closest(key, raw.columns)
                raise DataRejected(f"the query returns no column {key!r}{hint} (there are {there})")
        fields = [name for name in raw.columns if name not in keys]
        clashing = [name for name in fields if name in KEYS]
        if clashing:
            raise DataRejected(f"field {clashing[0]!r} has the name of a key column")
        return raw.select(
            _dates(raw[keys[0]]).alias("date"),
            raw[keys[1]].cast(pl.String).alias("symbol"),
            *(_moments(raw[name]) if name == KNOWLEDGE else raw[name] for name in fields),
        )


def _forbid_writing(connection: Connection) -> None:
    """Nothing is committed, but SQLite's driver begins no transaction for WITH ... DELETE."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif connection.dialect.name == "postgresql":
        connection.execution_options(postgresql_readonly=True)


def _reject_doubles(columns: Sequence[str]) -> None:
    doubles = sorted({name for name in columns if columns.count(name) > 1})
    if doubles:
        raise DataRejected(
            f"the query returns several columns {doubles[0]!r}; give them different names"
        )


def _series(name: str, values: list[object]) -> pl.Series:
    """A column; exact decimals, which no store holds, become floats."""
    plain = [float(value) if isinstance(value, Decimal) else value for value in values]
    if any(isinstance(value, float) for value in plain):
        return pl.Series(name, plain, dtype=pl.Float64, strict=False)
    try:
        return pl.Series(name, plain)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise DataRejected(f"column {name!r} of the query has values of several types") from error


def _dates(given: pl.Series) -> pl.Series:
    """Days from dates, times or ISO texts (a database without dates gives texts)."""
    if isinstance(given.dtype, pl.Datetime):
        return given.dt.date()
    if given.dtype == pl.String:
        parsed = given.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
        if parsed.null_count() == given.null_count():
            return parsed
    if given.dtype in (pl.Date, pl.Null):
        return given.cast(pl.Date)
    raise DataRejected(f"column {given.name!r} of the query contains values that are not dates")


def _moments(given: pl.Series) -> pl.Series:
    """Aware times from times with a zone or ISO texts with an offset."""
    if given.dtype == pl.String:
        try:
            moments = [value and datetime.fromisoformat(value) for value in given]
        except ValueError as error:
            raise DataRejected(f"{KNOWLEDGE}: {error}") from error
        if all(moment is None or moment.tzinfo for moment in moments):
            return pl.Series(given.name, moments, dtype=pl.Datetime("us", "UTC"))
    if isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone:
        return given.dt.convert_time_zone("UTC")
    raise DataRejected(f"{KNOWLEDGE} must be times with a zone, like 2024-01-31T18:00:00Z")
