"""Pipeline ``sql``: a dataset from the rows of a query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, cast
from zoneinfo import ZoneInfo

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
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.plugins.cells import (
    check_date_format,
    check_zone,
    read_days,
    read_moments,
    read_symbols,
)
from prefect_instances.libs.plugins.sql_blocks import open_engine, translate_sql_errors
from prefect_instances.libs.specs import frequency_fault

if TYPE_CHECKING:
    from sqlalchemy import Connection

SINCE, AS_OF = ":since", ":as_of"
_READS = re.compile(r"\s*(--[^\n]*\n\s*)*(select|with|values)\b", re.IGNORECASE)
_BIND = re.compile(r"(?<![:\w\\]):(\w+)")


class SqlPipeline(Pipeline):
    """Rows of a SQL query; a Prefect block of prefect-sqlalchemy holds the database's address.

    The query returns a date, a symbol, and a column for each field. If it contains ``:since``, it
    has to return only the rows from that date on. ``:as_of`` is the newest date to return.
    """

    name = "sql"
    version = "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(max_upstreams=0)
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.plugins.sql_blocks",
        "prefect_instances.libs.plugins.cells",
    )

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
        date_format: str = Field(
            default="",
            description="How dates are written where they are texts, like %d.%m.%Y; "
            "empty: 2024-01-31.",
        )
        timezone: str = Field(
            default="",
            description="Where dates are times with a zone: the time zone whose day counts; "
            "empty: the day as the database writes it.",
        )
        data_frequency: str = Field(
            default="",
            description=(
                "How often the source has new data: daily, weekly, weekly:MON, monthly or "
                "quarterly; empty: no check for late data."
            ),
        )

        _zone = field_validator("timezone")(check_zone)
        _style = field_validator("date_format")(check_date_format)

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
        """Return the configured frequency: a query does not state one."""
        return self.config.data_frequency or None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return a problem if the block is missing or unusable; the query itself is not run.

        If Prefect cannot be reached, return nothing: the run will report it.
        """
        problems = super().check(upstreams)
        try:
            open_engine(self.config.block)
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
        """Return the rows of the query up to ``context.as_of``, since ``since`` if it uses that.

        Raises ``Unavailable`` if the database does not answer, ``DataRejected`` if it rejects the
        query or the rows are invalid.
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
        engine = open_engine(self.config.block)
        with (
            translate_sql_errors(f"the database of block {self.config.block!r}"),
            engine.connect() as reader,
        ):
            _forbid_writing(reader)
            found = reader.execute(statement)
            columns = list(found.keys())
            rows = [tuple(row) for row in found]
        _reject_doubles(columns)
        found_in: dict[str, Sequence[object]] = dict.fromkeys(columns, ())
        if rows:
            found_in = dict(zip(columns, zip(*rows, strict=True), strict=True))
        key = self.config.date_column
        if key in found_in:
            found_in[key] = _own_days(found_in[key], self.config.timezone)
        return pl.DataFrame([_series(name, column) for name, column in found_in.items()])

    def _long(self, raw: pl.DataFrame) -> pl.DataFrame:
        keys = (self.config.date_column, self.config.symbol_column)
        for key in keys:
            if key not in raw.columns:
                there = ", ".join(raw.columns)
                hint = suggest_closest(key, raw.columns)
                raise DataRejected(f"the query returns no column {key!r}{hint} (there are {there})")
        fields = [name for name in raw.columns if name not in keys]
        clashing = [name for name in fields if name in KEYS]
        if clashing:
            raise DataRejected(f"field {clashing[0]!r} has the name of a key column")
        config = self.config
        days = read_days(raw[keys[0]], _where, config.timezone, config.date_format)
        return pl.DataFrame(
            [
                days.alias("date"),
                read_symbols(raw[keys[1]], _where).alias("symbol"),
                *(
                    read_moments(raw[name], _where) if name == KNOWLEDGE else raw[name]
                    for name in fields
                ),
            ]
        )


def _forbid_writing(connection: Connection) -> None:
    """Make the connection read-only; SQLite's driver begins no transaction for WITH ... DELETE."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif connection.dialect.name == "postgresql":
        connection.execution_options(postgresql_readonly=True)
        # A prepared statement is one statement: a second one could end the transaction and write.
        cast(Any, connection.connection.dbapi_connection).prepare_threshold = 0


def _reject_doubles(columns: Sequence[str]) -> None:
    doubles = sorted({name for name in columns if columns.count(name) > 1})
    if doubles:
        raise DataRejected(
            f"the query returns several columns {doubles[0]!r}; give them different names"
        )


def _series(name: str, values: Sequence[object]) -> pl.Series:
    """Return a column of one type; exact decimals, which no store supports, become floats.

    Raises ``DataRejected`` with row and value if a value has another type than those before: a
    database with dynamic types, such as SQLite, may hold a text among numbers.
    """
    plain = [float(value) if isinstance(value, Decimal) else value for value in values]
    kinds = [_kind(value) for value in plain]
    kind = next((found for found in kinds if found is not None), None)
    for row, found in enumerate(kinds, start=1):
        if found not in (None, kind):
            raise DataRejected(
                f"column {name!r} of the query has {values[row - 1]!r} in row {row}, which is "
                f"{found}; the rows before are {kind}",
                {"column": name, "row": row, "value": str(values[row - 1])},
            )
    if any(isinstance(value, float) for value in plain):
        return pl.Series(name, plain, dtype=pl.Float64, strict=False)
    try:
        return pl.Series(name, plain)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        message = f"column {name!r} of the query has values that no store holds ({kind})"
        raise DataRejected(message) from error


def _kind(value: object) -> str | None:
    """Return the type of a value in words; None for a missing one."""
    if value is None:
        return None
    for kind, types in _KINDS.items():
        if isinstance(value, types):
            return kind
    return type(value).__name__


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "true or false": bool,
    "a number": (int, float),
    "a text": str,
    "a time": datetime,
    "a date": date,
}
"""The first match counts: in Python a bool is an int, and a datetime is a date."""


def _own_days(values: Sequence[object], timezone: str) -> list[object]:
    """Return the days of aware times, in ``timezone`` or in their own zone; keep other values."""
    zone = ZoneInfo(timezone) if timezone else None
    return [
        value.astimezone(zone or value.tzinfo).date()
        if isinstance(value, datetime) and value.tzinfo
        else value
        for value in values
    ]


def _where(at: int) -> str:
    return f"row {at + 1} of the query"
