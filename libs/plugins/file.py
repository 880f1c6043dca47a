"""Pipeline ``file``: a CSV or Parquet file as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, field_validator

from prefect_instances.libs.core.errors import DataRejected, Problem, Unavailable
from prefect_instances.libs.definitions.base import CompatibilityRules, UpstreamShape
from prefect_instances.libs.definitions.content import KNOWLEDGE, SAMPLE
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.problems import closest
from prefect_instances.libs.specs import frequency_fault

Format = Literal["", "csv", "parquet"]

_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


_DATE = "a date like 2024-01-31"
_TIME = "a time with its zone like 2024-01-31T18:00:00Z"


class FilePipeline(Pipeline):
    """A CSV (plain or gzip) or Parquet file in the long shape: one row a date and symbol.

    Every run reads the whole file: its past may have been corrected. A column ``knowledge_time``
    must carry a time zone.
    """

    name = "file"
    version = "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(max_upstreams=0)

    class Config(Pipeline.Config):
        """Parameters of the pipeline."""

        path: str = Field(min_length=1, description="Relative to the working directory.")
        format: Format = Field(
            default="", description="Format of the file; empty: by the suffix of the path."
        )
        date_column: str = "date"
        symbol_column: str = "symbol"
        columns: tuple[str, ...] = Field(default=(), description="Fields; empty: all others.")
        data_frequency: str = Field(
            default="",
            description=(
                "daily, weekly, weekly:MON, monthly, quarterly; empty: the source is never late."
            ),
        )

        @field_validator("data_frequency")
        @classmethod
        def _known(cls, frequency: str) -> str:
            if frequency and (fault := frequency_fault(frequency)):
                raise ValueError(fault)
            return frequency

    config: Config

    @property
    def data_frequency(self) -> str | None:
        """What the configuration says: a file does not tell by itself."""
        return self.config.data_frequency or None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """A file that is missing, cannot be read, or has not the columns."""
        problems = super().check(upstreams)
        path = Path(self.config.path)
        if not path.is_file():
            return [*problems, Problem("config.path", f"there is no file {str(path.absolute())!r}")]
        if not self._format():
            suffixes = ", ".join(_SUFFIXES)
            message = f"is not clear from {path.name!r} (known: {suffixes}); set it"
            return [*problems, Problem("config.format", message)]
        try:
            present = self._scan().collect_schema().names()
        except (pl.exceptions.PolarsError, OSError) as error:
            message = f"{path.name!r} is not a readable {self._format()} file: {_line(error)}"
            return [*problems, Problem("config.path", message)]
        return [*problems, *self._column_problems(present)]

    def extract(
        self,
        context: ExtractContext,
        inputs: Sequence[Input],  # noqa: ARG002 - it has no upstreams
        since: date | None,  # noqa: ARG002 - it delivers everything
    ) -> Extract:
        """The rows of the file up to ``context.as_of``.

        Raises ``Unavailable`` where the file is not there, ``DataRejected`` where it is not what
        it must be.
        """
        try:
            raw = self._scan().collect()
        except FileNotFoundError as error:
            raise Unavailable(f"file {self.config.path!r}", "file not found") from error
        except OSError as error:
            raise Unavailable(f"file {self.config.path!r}", _line(error)) from error
        except pl.exceptions.PolarsError as error:
            raise DataRejected(f"{self.config.path!r} cannot be read: {_line(error)}") from error
        problems = self._column_problems(raw.columns)
        if problems:
            raise DataRejected("; ".join(problem.message for problem in problems))
        frame = self._long(raw)
        if context.as_of is not None:
            frame = frame.filter(pl.col("date") <= context.as_of)
        if not frame.height:
            until = f" up to {context.as_of}" if context.as_of else ""
            raise DataRejected(f"{self.config.path!r} contains no rows{until}")
        return Extract(frame, complete=True)

    def _format(self) -> Format:
        name = self.config.path.lower()
        by_suffix = (kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix))
        return self.config.format or next(by_suffix, "")

    def _scan(self) -> pl.LazyFrame:
        path = Path(self.config.path)
        if self._format() == "parquet":
            return pl.scan_parquet(path, glob=False)
        texts = (self.config.date_column, self.config.symbol_column, KNOWLEDGE)
        # All rows are looked at: a type guessed from the first hundred fails on the rest. Symbols
        # are texts even if they look like numbers (000001).
        return pl.scan_csv(
            path,
            infer_schema_length=None,
            glob=False,
            schema_overrides=dict.fromkeys(texts, pl.String),
        )

    def _column_problems(self, present: Sequence[str]) -> list[Problem]:
        wanted = {
            "config.date_column": self.config.date_column,
            "config.symbol_column": self.config.symbol_column,
            **{f"config.columns[{i}]": name for i, name in enumerate(self.config.columns)},
        }
        there = ", ".join(present)
        return [
            Problem(
                path,
                f"{self.config.path!r} has no column {name!r}{closest(name, present)} "
                f"(there are {there})",
            )
            for path, name in wanted.items()
            if name not in present
        ]

    def _long(self, raw: pl.DataFrame) -> pl.DataFrame:
        keys = (self.config.date_column, self.config.symbol_column)
        fields = self.config.columns or tuple(name for name in raw.columns if name not in keys)
        if KNOWLEDGE in raw.columns and KNOWLEDGE not in fields:
            fields = (*fields, KNOWLEDGE)
        clashing = [name for name in fields if name in ("date", "symbol")]
        if clashing:
            raise DataRejected(f"field {clashing[0]!r} has the name of a key column")
        long = raw.select(
            _dates(raw.get_column(keys[0])).alias("date"),
            pl.col(keys[1]).cast(pl.String).alias("symbol"),
            *fields,
        )
        if KNOWLEDGE in fields:
            long = long.with_columns(_aware_times(long.get_column(KNOWLEDGE)))
        return long


def _dates(given: pl.Series) -> pl.Series:
    """Calendar dates from dates, times (the day in their own zone), or ISO texts."""
    if given.dtype == pl.Date:
        parsed = given
    elif isinstance(given.dtype, pl.Datetime):
        parsed = given.dt.date()
    elif given.dtype == pl.String:
        day = given.str.strip_chars().str.replace(r"[T ]00:00:00(\.0+)?$", "")
        parsed = day.str.to_date("%Y-%m-%d", strict=False)
    else:
        raise DataRejected(f"column {given.name!r} is {given.dtype}, not {_DATE}")
    return _require_parsed(given, parsed, _DATE)


def _aware_times(given: pl.Series) -> pl.Series:
    """Times in UTC from aware times or ISO texts with an offset."""
    if isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone:
        return given.cast(pl.Datetime("us", "UTC"))
    if given.dtype != pl.String:
        raise DataRejected(f"column {given.name!r} is {given.dtype}, not {_TIME}")
    zoned = given.str.strip_chars().str.replace(r"Z$", "+00:00")
    parsed = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    return _require_parsed(given, parsed.dt.convert_time_zone("UTC"), _TIME)


def _require_parsed(given: pl.Series, parsed: pl.Series, wanted: str) -> pl.Series:
    lost = given.filter(parsed.is_null())
    if lost.len():
        sample = [str(value) for value in lost.head(SAMPLE).to_list()]
        raise DataRejected(
            f"{lost.len()} values of column {given.name!r} are not {wanted}: {sample}",
            {"column": given.name, "count": lost.len(), "sample": sample},
        )
    return parsed


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
