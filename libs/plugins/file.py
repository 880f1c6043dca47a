"""Pipeline ``file``: a dataset from CSV or Parquet files."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from prefect_instances.libs.core.errors import DataRejected, InstancesError, Problem, Unavailable
from prefect_instances.libs.core.places import is_remote
from prefect_instances.libs.definitions.base import CompatibilityRules, UpstreamShape
from prefect_instances.libs.definitions.content import KNOWLEDGE
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.plugins.cells import (
    CellType,
    Notation,
    check_date_format,
    check_zone,
    read_cells,
    read_days,
    read_moments,
    read_symbols,
)
from prefect_instances.libs.plugins.remote_files import local_files
from prefect_instances.libs.plugins.tables import (
    PANDAS_INDEX,
    SUFFIXES,
    Csv,
    Format,
    Table,
    find_format,
    read_header,
    read_tables,
)
from prefect_instances.libs.specs import frequency_fault


class FilePipeline(Pipeline):
    """CSV (plain or gzip) or Parquet files in the long shape: one row a date and symbol.

    Every run reads all of them: their past may have been corrected. A cell that is not of its
    column's type is refused with its row. A column ``knowledge_time`` must carry a time zone.
    """

    name = "file"
    version = "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(max_upstreams=0)
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.plugins.cells",
        "prefect_instances.libs.plugins.remote_files",
        "prefect_instances.libs.plugins.tables",
    )

    class Config(Pipeline.Config):
        """Parameters of the pipeline."""

        path: str = Field(
            min_length=1,
            description="A file, a folder of files or a pattern like data/*.csv, relative to the "
            "working directory; or the same in an object store, like s3://bucket/data/*.csv.gz.",
        )
        object_store: str = Field(
            default="",
            description="Prefect block of type Object store with endpoint and key, for a path in "
            "an object store; empty: the environment's own identity.",
        )
        format: Format = Field(
            default="", description="Format of the files; empty: by the suffix of the path."
        )
        date_column: str = "date"
        symbol_column: str = "symbol"
        columns: tuple[str, ...] = Field(default=(), description="Fields; empty: all others.")
        separator: str = Field(default=",", description="Between the fields of a CSV file.")
        decimal: Literal[".", ","] = Field(default=".", description="Mark before the decimals.")
        thousands: Literal["", ",", ".", "'", " ", "_"] = Field(
            default="", description="Mark between groups of three digits; empty: none."
        )
        null_values: tuple[str, ...] = Field(
            default=(),
            description="Texts that mean a missing value in a field, besides the empty text.",
        )
        date_format: str = Field(
            default="",
            description="How dates are written, like %d.%m.%Y, with a year of four digits; "
            "empty: 2024-01-31.",
        )
        timezone: str = Field(
            default="",
            description="Where dates are times with a zone: the time zone whose day counts; "
            "empty: the day as it is written.",
        )
        encoding: str = Field(default="utf-8", description="Encoding of a CSV file.")
        types: dict[str, CellType] = Field(
            default_factory=dict,
            description="Column: number, text or boolean, where cells of a CSV file differ.",
        )
        data_frequency: str = Field(
            default="",
            description=(
                "daily, weekly, weekly:MON, monthly, quarterly; empty: the source is never late."
            ),
        )

        _zone = field_validator("timezone")(check_zone)
        _style = field_validator("date_format")(check_date_format)

        @field_validator("data_frequency")
        @classmethod
        def _known(cls, frequency: str) -> str:
            if frequency and (fault := frequency_fault(frequency)):
                raise ValueError(fault)
            return frequency

        @field_validator("columns")
        @classmethod
        def _once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
            twice = next((name for name in columns if columns.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"names {twice!r} twice")
            return columns

        @field_validator("separator")
        @classmethod
        def _one_mark(cls, separator: str) -> str:
            if len(separator.encode()) != 1 or separator in '"\r\n':
                raise ValueError("must be one character, such as , or ;")
            return separator

        @field_validator("encoding")
        @classmethod
        def _decodes(cls, encoding: str) -> str:
            try:
                known = codecs.lookup(encoding)._is_text_encoding
            except LookupError:
                known = False
            if not known:
                raise ValueError("must be the name of a text encoding, such as utf-8 or latin-1")
            return encoding

        @model_validator(mode="after")
        def _marks_differ(self) -> Self:
            if self.decimal == self.thousands:
                raise ValueError("decimal and thousands are the same mark")
            return self

    config: Config

    @property
    def data_frequency(self) -> str | None:
        """Return the configured frequency: a file does not state one."""
        return self.config.data_frequency or None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return a problem for each file that is missing, unreadable, or lacks a column."""
        problems = super().check(upstreams)
        try:
            with local_files(self.config.path, self.config.object_store, first=True) as files:
                return [*problems, *self._file_problems(files)]
        except InstancesError as error:
            return [*problems, Problem("config.path", str(error))]

    def _file_problems(self, files: Sequence[Path]) -> list[Problem]:
        path = self.config.path
        if not files:
            there = path if is_remote(path) else str(Path(path).absolute())
            return [Problem("config.path", f"there is no file {there!r}")]
        kinds = {self._format(path) for path in files}
        if len(kinds) > 1 or not all(kinds):
            suffixes = ", ".join(SUFFIXES)
            message = f"is not clear from {files[0].name!r} (known: {suffixes}); set it"
            return [Problem("config.format", message)]
        return self._column_problems(read_header(files[0], kinds.pop(), self._csv()))

    def extract(
        self,
        context: ExtractContext,
        inputs: Sequence[Input],  # noqa: ARG002 - it has no upstreams
        since: date | None,  # noqa: ARG002 - it delivers everything
    ) -> Extract:
        """Return the rows of the files up to ``context.as_of``.

        Raises ``Unavailable`` if a file is missing or is being written, ``DataRejected`` if its
        content is invalid.
        """
        with local_files(self.config.path, self.config.object_store) as files:
            frame = self._rows(files)
        if context.as_of is not None:
            frame = frame.filter(pl.col("date") <= context.as_of)
        if not frame.height:
            until = f" up to {context.as_of}" if context.as_of else ""
            raise DataRejected(f"{self.config.path!r} contains no rows{until}")
        return Extract(frame, complete=True)

    def _rows(self, files: Sequence[Path]) -> pl.DataFrame:
        if not files:
            raise Unavailable(f"file {self.config.path!r}", "file not found")
        kinds = {self._format(path) for path in files}
        if len(kinds) > 1:
            raise DataRejected(
                f"{self.config.path!r} holds files of several formats; name one of them as format"
            )
        kind = kinds.pop()
        table = read_tables(files, kind, self._csv())
        problems = self._column_problems(table.frame.columns)
        if problems:
            raise DataRejected("; ".join(problem.message for problem in problems))
        return self._long(table, kind)

    def _format(self, path: Path) -> Format:
        return self.config.format or find_format(path.name)

    def _csv(self) -> Csv:
        return Csv(self.config.separator, self.config.encoding)

    def _column_problems(self, present: Sequence[str]) -> list[Problem]:
        """Return the problems of a file's columns (``present``) for this configuration."""
        config, path = self.config, self.config.path
        wanted = {
            "config.date_column": config.date_column,
            "config.symbol_column": config.symbol_column,
            **{f"config.columns[{i}]": name for i, name in enumerate(config.columns)},
        }
        names = [name.partition("\0")[0] for name in present]
        there = ", ".join(names)
        if len(names) == 1:
            there += "; is separator right?"
        found = [
            Problem(
                place,
                f"{path!r} has no column {name!r}{suggest_closest(name, names)} "
                f"(there are {there})",
            )
            for place, name in wanted.items()
            if name not in names
        ]
        used = set(wanted.values()) if config.columns else set(names)
        counts = Counter(names)
        twice = sorted(name for name in used if counts[name] > 1)
        found += [Problem("config.path", f"{path!r} has several columns {n!r}") for n in twice]
        if used & {"", PANDAS_INDEX}:
            message = f"{path!r} has an index without a name beside the data: write it without"
            found.append(Problem("config.path", f"{message}, or name the fields in columns"))
        found += [
            Problem(f"config.types.{name}", f"{path!r} has no column {name!r}")
            for name in config.types
            if name not in names
        ]
        return found

    def _long(self, table: Table, kind: Format) -> pl.DataFrame:
        raw, config = table.frame, self.config
        keys = (config.date_column, config.symbol_column)
        fields = config.columns or tuple(name for name in raw.columns if name not in keys)
        if KNOWLEDGE in raw.columns and KNOWLEDGE not in fields:
            fields = (*fields, KNOWLEDGE)
        clashing = [name for name in fields if name in ("date", "symbol")]
        if clashing:
            raise DataRejected(f"field {clashing[0]!r} has the name of a key column")
        days = read_days(raw[keys[0]], table.where, config.timezone, config.date_format)
        return pl.DataFrame(
            [
                days.alias("date"),
                read_symbols(raw[keys[1]], table.where).alias("symbol"),
                *(self._field(raw[name], table, kind) for name in fields),
            ]
        )

    def _field(self, given: pl.Series, table: Table, kind: Format) -> pl.Series:
        if given.name == KNOWLEDGE:
            return read_moments(given, table.where)
        if kind == "parquet":
            return given
        return read_cells(given, table.where, self._notation(), self.config.types.get(given.name))

    def _notation(self) -> Notation:
        config = self.config
        return Notation(config.decimal, config.thousands, config.null_values)
