"""Tables in CSV and Parquet files, read completely and never during a write.

Cells of a CSV file are texts here; ``libs.plugins.cells`` converts them to types.
"""

from __future__ import annotations

import csv
import gzip
import io
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import polars as pl

from prefect_instances.libs.core.errors import DataRejected, Unavailable
from prefect_instances.libs.plugins.cells import Where

Format = Literal["", "csv", "parquet"]

SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}

QUIET_SECONDS = 0.1
"""Age of the last change below which a file is checked again before it is read."""

UNENDED_SECONDS = 1.5
"""The same for a file whose last line has no line end: the line may be incomplete."""

ATTEMPTS = 5
"""Maximum attempts to read a file that changes while it is read."""

PANDAS_INDEX = "__index_level_0__"
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Csv:
    """The format of a CSV file: the separator of fields and the encoding."""

    separator: str = ","
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one or several files; ``where`` returns the file and row number of a row."""

    frame: pl.DataFrame
    where: Where


def find_files(path: str) -> list[Path]:
    """Return the files of a path: the file itself, those in a folder, or those of a glob pattern.

    In a folder these are the files with a known suffix, sorted by name, without hidden ones. Empty
    if there is none.
    """
    given = Path(path)
    if given.is_file():
        return [given]
    if given.is_dir():
        found: Iterator[Path] = given.iterdir()
    elif _WILD & set(path):
        anchor = Path(given.anchor) if given.anchor else Path()
        found = anchor.glob(str(given.relative_to(given.anchor)))
    else:
        return []
    return sorted(one for one in found if one.is_file() and _is_data(one, given.is_dir()))


def _is_data(path: Path, needs_suffix: bool) -> bool:
    return not path.name.startswith(".") and (not needs_suffix or bool(find_format(path.name)))


def find_format(name: str) -> Format:
    """Return the format that a file's suffix stands for; empty if it is unknown."""
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), "")


def read_header(path: Path, kind: Format, style: Csv) -> list[str]:
    """Return the column names of a file as they are written, including duplicates.

    Raises ``DataRejected`` if the file does not have its format, ``Unavailable`` if it cannot be
    opened.
    """
    with _file_errors(path, kind):
        if kind == "parquet":
            return pl.scan_parquet(path, glob=False).collect_schema().names()
        with gzip.open(path, "rb") if _is_gzip(path) else path.open("rb") as stream:
            text = io.TextIOWrapper(stream, encoding=_decoder(style), newline="")
            return _header(text, style, path)


def _header(lines: io.TextIOBase, style: Csv, path: Path) -> list[str]:
    first = next((row for row in csv.reader(lines, delimiter=style.separator) if row), None)
    if first is None:
        raise DataRejected(f"{path.name!r} is empty")
    return [name.strip() for name in first]


def read_tables(paths: Sequence[Path], kind: Format, style: Csv) -> Table:
    """Read files as one table; they must have the same columns.

    A CSV file's row 1 is its header. Raises ``DataRejected`` if a file is invalid, ``Unavailable``
    if one cannot be read or is being written.
    """
    read = _read_parquet if kind == "parquet" else _read_csv
    tables = [_read_settled(path, lambda path: read(path, style), kind) for path in paths]
    if len(tables) == 1:
        return tables[0]
    columns = tables[0].frame.columns
    for path, table in zip(paths, tables, strict=True):
        if set(table.frame.columns) != set(columns):
            other = ", ".join(sorted(set(table.frame.columns) ^ set(columns)))
            raise DataRejected(f"{path.name!r} and {paths[0].name!r} differ in columns: {other}")
    frames = [table.frame.select(columns) for table in tables]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataRejected(f"the files differ in the type of a column: {_line(error)}") from error
    return Table(frame, _where_of_parts(tables))


def _where_of_parts(tables: Sequence[Table]) -> Where:
    starts = list(accumulate((table.frame.height for table in tables), initial=0))

    def where(at: int) -> str:
        part = bisect_right(starts, at) - 1
        return tables[part].where(at - starts[part])

    return where


def _read_settled(path: Path, read: Callable[[Path], Table], kind: Format) -> Table:
    """Read a file that does not change meanwhile; raise ``Unavailable`` if it keeps changing."""
    for _ in range(ATTEMPTS):
        with _file_errors(path, kind):
            before = _state(path)
            _wait_until_quiet(path, kind)
            fault = None
            try:
                table = read(path)
            except (DataRejected, pl.exceptions.PolarsError) as error:
                fault = error
            if before == _state(path):
                if fault is not None:
                    raise fault
                return table
    raise Unavailable(f"file {str(path)!r}", "is being written: it changes while it is read")


def _wait_until_quiet(path: Path, kind: Format) -> None:
    """Wait until a file that changed recently has been quiet for long enough."""
    age = time.time() - path.stat().st_mtime
    quiet = QUIET_SECONDS
    if age < UNENDED_SECONDS and kind == "csv" and not _is_ended(path):
        quiet = UNENDED_SECONDS
    if age < quiet:
        time.sleep(min(quiet, quiet - age))


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_ended(path: Path) -> bool:
    """Return True if a file's last line has an end; a compressed file has a check sum instead."""
    if _is_gzip(path):
        return True
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(size - 2, 0))
        return size == 0 or stream.read().rstrip(b"\0")[-1:] in (b"\n", b"\r")


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _read_parquet(path: Path, style: Csv) -> Table:
    del style
    return Table(pl.read_parquet(path, glob=False), lambda at: f"row {at + 1} of {path.name!r}")


def _read_csv(path: Path, style: Csv) -> Table:
    data = gzip.decompress(path.read_bytes()) if _is_gzip(path) else path.read_bytes()
    text = _decoded(data, style, path.name)
    names = _header(io.StringIO(text, newline=""), style, path)
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode() if _decoder(style) != "utf-8-sig" else data),
            separator=style.separator,
            infer_schema=False,
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError:
        _reject_ragged(text, style, path.name, len(names))
        raise
    if frame.width and frame.to_series(frame.width - 1).null_count():
        _reject_ragged(text, style, path.name, len(names))
    frame.columns = _distinct(names)
    kept = frame.with_row_index("row").filter(~pl.all_horizontal(pl.col(frame.columns).is_null()))
    rows = kept.get_column("row") if kept.height < frame.height else None
    return Table(
        kept.drop("row") if rows is not None else frame,
        lambda at: f"row {(at if rows is None else rows[at]) + 2} of {path.name!r}",
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names with a number appended to duplicates, which a dataset may not use."""
    first = {name: at for at, name in reversed(list(enumerate(names)))}
    return [name if first[name] == at else f"{name}\0{at}" for at, name in enumerate(names)]


def _decoder(style: Csv) -> str:
    """Return the encoding; UTF-8 may begin with the byte order mark of spreadsheets."""
    plain = style.encoding.lower().replace("_", "-")
    return "utf-8-sig" if plain in ("utf-8", "utf8") else style.encoding


def _decoded(data: bytes, style: Csv, name: str) -> str:
    try:
        text = data.decode(_decoder(style))
    except UnicodeError as error:
        row = data[: getattr(error, "start", 0)].count(b"\n") + 1
        raise DataRejected(
            f"row {row} of {name!r} is not written in {style.encoding}: say which encoding it is",
            {"row": row, "encoding": style.encoding},
        ) from error
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        raise DataRejected(f"row {row} of {name!r} holds a NUL byte: say which encoding it is")
    return text


def _reject_ragged(text: str, style: Csv, name: str, width: int) -> None:
    """Reject the first row with more or fewer fields than the header."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=style.separator)
    for number, row in enumerate(rows, start=1):
        if row and len(row) != width:
            raise DataRejected(
                f"row {number} of {name!r} has {len(row)} fields, the header {width}: "
                f"{style.separator.join(row)[:80]!r}",
                {"row": number, "fields": len(row), "columns": width},
            )


class _file_errors:  # noqa: N801  # used like a function
    """Translate errors in reading a file into one-line errors of this project."""

    def __init__(self, path: Path, kind: Format) -> None:
        self.path, self.kind = path, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        name = str(self.path)
        if isinstance(error, FileNotFoundError):
            raise Unavailable(f"file {name!r}", "file not found") from error
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error | csv.Error | UnicodeError):
            text = f"{name!r} is no readable {self.kind} file: {_line(error)}"
            raise DataRejected(text) from error
        if isinstance(error, OSError):
            raise Unavailable(f"file {name!r}", _line(error)) from error
        if isinstance(error, pl.exceptions.PolarsError):
            text = f"{name!r} is no readable {self.kind} file: {_line(error)}"
            raise DataRejected(text) from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
