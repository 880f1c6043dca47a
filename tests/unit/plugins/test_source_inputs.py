"""Quirky inputs of the pipelines file and sql: the right frame, or one line with row and value."""
# ruff: noqa: E501  # a table: one line a case

from __future__ import annotations

import gzip
import os
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from prefect_instances.libs.core.errors import InstancesError, InvalidSpec, Unavailable
from prefect_instances.libs.definitions.content import check_frame, conform
from prefect_instances.libs.definitions.pipeline import ExtractContext
from prefect_instances.libs.plugins import sql, tables
from prefect_instances.libs.plugins.file import FilePipeline
from prefect_instances.libs.plugins.sql import SqlPipeline

NOW = datetime(2024, 6, 1, tzinfo=UTC)
LONG_AGO = 1_600_000_000
D2, D3 = date(2024, 1, 2), date(2024, 1, 3)
HEAD = "date,symbol,close\n"


class Refused(str):
    """What one line of refusal must say."""


def settle(path: Path) -> Path:
    """Let a file look as if nobody had written it for long."""
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def read(path: Path | str, **config: Any) -> pl.DataFrame:
    pipeline = FilePipeline({"path": str(path), **config})
    frame = conform(pipeline.extract(ExtractContext("file", NOW), [], None).frame)
    check_frame(frame)
    return frame


def expect(make: Any, wanted: Any) -> None:
    """``wanted``: the rows, or what the one line of refusal says."""
    if isinstance(wanted, Refused):
        with pytest.raises(InstancesError) as caught:
            make()
        assert wanted in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    frame = make()
    assert frame.rows() == wanted
    assert [type(value) for value in frame.row(0)] == [type(value) for value in wanted[0]]


def csv(body: str) -> str:
    return HEAD + body


A2 = "2024-01-02,A,"
NOT_A_DATE = "which is not a date like 2024-01-31"

TEXTS: dict[str, tuple[str | bytes, dict[str, Any], Any]] = {
    # Dates.
    "iso date": (csv(A2 + "1.5\n"), {}, [(D2, "A", 1.5)]),
    "blanks around": (csv(" 2024-01-02 , A , 1.5 \n"), {}, [(D2, "A", 1.5)]),
    "two-digit year": (csv("02-01-24,A,1\n"), {}, Refused(f"'02-01-24' in row 2 of 'x.csv', {NOT_A_DATE}")),
    "two-digit year first": (csv("24-01-02,A,1\n"), {}, Refused("'24-01-02' in row 2")),
    "two digits in four": (csv("0024-01-02,A,1\n"), {}, Refused("'0024-01-02' in row 2")),
    "a year too far": (csv("9999-12-31,A,1\n"), {}, Refused("'9999-12-31' in row 2")),
    "day first": (csv("02.01.2024,A,1\n"), {}, Refused("'02.01.2024' in row 2")),
    "slashes": (csv("01/02/2024,A,1\n"), {}, Refused("'01/02/2024' in row 2")),
    "no such day": (csv(A2 + "1\n2024-02-30,A,1\n"), {}, Refused("'2024-02-30' in row 3")),
    "no date": (csv(A2 + "1\n,A,1\n"), {}, Refused("no value in row 3")),
    "a serial number": (csv("45293,A,1\n"), {}, Refused("'45293' in row 2")),
    "declared format": (csv("02.01.2024,A,1.5\n"), {"date_format": "%d.%m.%Y"}, [(D2, "A", 1.5)]),
    "compact format": (csv("20240102,A,1.5\n"), {"date_format": "%Y%m%d"}, [(D2, "A", 1.5)]),
    "format and two digits": (csv("02.01.24,A,1\n"), {"date_format": "%d.%m.%Y"}, Refused("'02.01.24' in row 2")),
    "other than the format": (csv(A2 + "1\n"), {"date_format": "%d.%m.%Y"}, Refused("a date written %d.%m.%Y")),
    "midnight": (csv("2024-01-02T00:00:00,A,1.5\n"), {}, [(D2, "A", 1.5)]),
    "a time": (csv("2024-01-02 16:00,A,1.5\n"), {}, [(D2, "A", 1.5)]),
    "no such time": (csv("2024-01-02 25:00,A,1\n"), {}, Refused("'2024-01-02 25:00' in row 2")),
    "an offset": (csv("2024-01-02T00:00:00+08:00,A,1.5\n"), {}, [(D2, "A", 1.5)]),
    "an offset late": (csv("2024-01-02T23:30:00-05:00,A,1.5\n"), {}, [(D2, "A", 1.5)]),
    "an offset to a zone": (csv("2024-01-02T23:30:00-05:00,A,1.5\n"), {"timezone": "Asia/Tokyo"}, [(D3, "A", 1.5)]),
    "utc to a zone": (csv("2024-01-03T02:00:00Z,A,1.5\n"), {"timezone": "America/New_York"}, [(D2, "A", 1.5)]),
    # Symbols.
    "leading zeros": (csv("2024-01-02,000001,1.5\n"), {}, [(D2, "000001", 1.5)]),
    "a float symbol": (csv("2024-01-02,600519.0,1\n"), {}, Refused("'600519.0' in row 2 of 'x.csv', which is not a symbol")),
    "a symbol of points": (csv("2024-01-02,BRK.B,1.5\n"), {}, [(D2, "BRK.B", 1.5)]),
    "no symbol": (csv("2024-01-02,,1\n"), {}, Refused("no value in row 2")),
    "a blank symbol": (csv("2024-01-02,  ,1\n"), {}, Refused("row 2")),
    "nan as symbol": (csv("2024-01-02,nan,1\n"), {}, Refused("'nan' in row 2")),
    "the symbol NA": (csv("2024-01-02,NA,1.5\n"), {"null_values": ["NA"]}, [(D2, "NA", 1.5)]),
    "twice by blanks": (csv(A2 + "1\n2024-01-02, A,2\n"), {}, Refused("2 rows share their (date, symbol)")),
    # Numbers.
    "whole numbers": (csv(A2 + "15\n"), {}, [(D2, "A", 15)]),
    "an empty cell": (csv(A2 + "\n2024-01-03,A,2.5\n"), {}, [(D2, "A", None), (D3, "A", 2.5)]),
    "N/A": (csv(A2 + "1.5\n2024-01-03,A,N/A\n"), {}, Refused("column 'close' has 'N/A' in row 3 of 'x.csv', which is not a number")),
    "N/A declared": (csv(A2 + "1.5\n2024-01-03,A,N/A\n"), {"null_values": ["N/A"]}, [(D2, "A", 1.5), (D3, "A", None)]),
    "-999 declared": (csv(A2 + "1.5\n2024-01-03,A,-999\n"), {"null_values": ["-999"]}, [(D2, "A", 1.5), (D3, "A", None)]),
    "a dash": (csv(A2 + "1.5\n2024-01-03,A,-\n"), {}, Refused("'-' in row 3")),
    "a decimal comma": ("date;symbol;close\n2024-01-02;A;2,5\n", {"separator": ";", "decimal": ","}, [(D2, "A", 2.5)]),
    "a comma undeclared": ("date;symbol;close\n2024-01-02;A;2,5\n", {"separator": ";"}, Refused("'2,5' in row 2 of 'x.csv', which is not a number: declare decimal")),
    "one comma": ("date;symbol;close\n2024-01-02;A;2.5\n2024-01-03;A;2,5\n", {"separator": ";"}, Refused("'2,5' in row 3")),
    "a point for a comma": ("date;symbol;close\n2024-01-02;A;2.5\n", {"separator": ";", "decimal": ","}, Refused("'2.5' in row 2")),
    "thousands": (csv(A2 + '"1,234.5"\n'), {"thousands": ","}, [(D2, "A", 1234.5)]),
    "thousands of whole numbers": (csv(A2 + '"1,234,567"\n'), {"thousands": ","}, [(D2, "A", 1234567)]),
    "wrong groups": (csv(A2 + '"12,34.5"\n'), {"thousands": ","}, Refused("'12,34.5' in row 2")),
    "german numbers": ("date;symbol;close\n2024-01-02;A;1.234,5\n", {"separator": ";", "decimal": ",", "thousands": "."}, [(D2, "A", 1234.5)]),
    "swiss numbers": (csv(A2 + "1'234.5\n"), {"thousands": "'"}, [(D2, "A", 1234.5)]),
    "per cent": (csv(A2 + "5%\n"), {}, Refused("'5%' in row 2")),
    "a typographic minus": (csv(A2 + "\u22125\n"), {}, Refused("'\u22125' in row 2")),
    "an underscore": (csv(A2 + "1_000\n"), {}, Refused("'1_000' in row 2")),
    "full-width digits": (csv(A2 + "\uff11\uff12\n"), {}, Refused("in row 2 of 'x.csv', which is not a number")),
    "a year of three digits": (csv("124-01-02,A,1\n"), {}, Refused("'124-01-02' in row 2")),
    "a line in a symbol": (csv('2024-01-02,"A\nB",1\n'), {}, Refused("row 2 of 'x.csv', which is not a symbol")),
    "dollars": (csv(A2 + "$5.00\n"), {}, Refused("'$5.00' in row 2")),
    "an accountant's minus": (csv(A2 + "(5.0)\n"), {}, Refused("'(5.0)' in row 2")),
    "an exponent": (csv(A2 + "1.5e3\n"), {}, [(D2, "A", 1500.0)]),
    "infinite": (csv(A2 + "inf\n2024-01-03,A,1.5\n"), {}, [(D2, "A", float("inf")), (D3, "A", 1.5)]),
    "an identifier of digits": (csv(A2 + "12345678901234567890\n2024-01-03,A,12345678901234567891\n"), {}, Refused("'12345678901234567890' in row 2 of 'x.csv', which is not a number that fits without rounding")),
    "a large whole number": (csv(A2 + "100000000000000000000\n"), {}, [(D2, "A", 1e20)]),
    "a large whole number to round": (csv(A2 + "12345678901234567891\n"), {"types": {"close": "number"}}, [(D2, "A", 12345678901234567891.0)]),
    "among fractions": (csv(A2 + "9007199254740993\n2024-01-03,A,1.5\n"), {}, Refused("'9007199254740993' in row 2")),
    "all too large": (csv(A2 + "1e999\n"), {}, Refused("'1e999' in row 2")),
    "a minus behind": (csv(A2 + "5-\n"), {}, Refused("'5-' in row 2")),
    "an invisible symbol": (csv("2024-01-02,A\u200b,1\n"), {}, Refused("in row 2 of 'x.csv', which is not a symbol")),
    "a symbol decomposed": (csv("2024-01-02,e\u0301,1\n"), {}, Refused("write it in Unicode's form NFC")),
    "lines of an old mac": ((HEAD + A2 + "1.5\n").replace("\n", "\r"), {}, [(D2, "A", 1.5)]),
    "too large": (csv(A2 + "1e999\n2024-01-03,A,1.5\n"), {}, Refused("'1e999' in row 2")),
    "true among numbers": (csv(A2 + "true\n2024-01-03,A,1.5\n"), {}, Refused("'true' in row 2")),
    "true or false": (csv(A2 + "True\n2024-01-03,A,FALSE\n"), {}, [(D2, "A", True), (D3, "A", False)]),
    "words": (csv(A2 + "tech\n2024-01-03,A,bank\n"), {}, [(D2, "A", "tech"), (D3, "A", "bank")]),
    "codes": (csv(A2 + "007\n2024-01-03,A,012\n"), {}, [(D2, "A", "007"), (D3, "A", "012")]),
    "words and a number": (csv(A2 + "tech\n2024-01-03,A,7\n"), {}, Refused("'tech' in row 2")),
    "declared words": (csv(A2 + "tech\n2024-01-03,A,7\n"), {"types": {"close": "text"}}, [(D2, "A", "tech"), (D3, "A", "7")]),
    "declared numbers": (csv(A2 + "007\n"), {"types": {"close": "number"}}, [(D2, "A", 7)]),
    "declared of no column": (csv(A2 + "1\n"), {"types": {"clos": "number"}}, Refused("has no column 'clos'")),
    # The file itself.
    "quotes": (csv('"2024-01-02","A","1.5"\n'), {}, [(D2, "A", 1.5)]),
    "blanks in the header": ("date , symbol , close\n2024-01-02,A,1.5\n", {}, [(D2, "A", 1.5)]),
    "lines of windows": (csv(A2 + "1.5\r\n2024-01-03,A,2.5\r\n"), {}, [(D2, "A", 1.5), (D3, "A", 2.5)]),
    "blank lines": (csv(A2 + "1.5\n\n2024-01-03,A,2.5\n\n"), {}, [(D2, "A", 1.5), (D3, "A", 2.5)]),
    "a row after a blank line": (csv(A2 + "1.5\n\n2024-01-03,A,x\n"), {}, Refused("'x' in row 4")),
    "a mark of utf-8": ("\ufeff" + csv(A2 + "1.5\n"), {}, [(D2, "A", 1.5)]),
    "latin-1": (csv("2024-01-02,Ä,1.5\n").encode("latin-1"), {"encoding": "latin-1"}, [(D2, "Ä", 1.5)]),
    "latin-1 undeclared": (csv(A2 + "1\n2024-01-02,Ä,1.5\n").encode("latin-1"), {}, Refused("row 3 of 'x.csv' is not written in utf-8")),
    "utf-16": (csv(A2 + "1.5\n").encode("utf-16"), {"encoding": "utf-16"}, [(D2, "A", 1.5)]),
    "a NUL byte": (csv(A2 + "1\0\n"), {}, Refused("row 2 of 'x.csv' holds a NUL byte")),
    "too few fields": (csv(A2 + "1.5\n2024-01-03,A\n"), {}, Refused("row 3 of 'x.csv' has 2 fields, the header 3")),
    "too many fields": (csv(A2 + "1.5,7\n"), {}, Refused("row 2 of 'x.csv' has 4 fields, the header 3")),
    "a header twice": ("date,symbol,close,close\n2024-01-02,A,1,2\n", {}, Refused("several columns 'close'")),
    "an index without name": (",date,symbol,close\n0,2024-01-02,A,1\n", {}, Refused("an index without a name")),
    "its fields named": (",date,symbol,close\n0,2024-01-02,A,1.5\n", {"columns": ["close"]}, [(D2, "A", 1.5)]),
    "another separator": ("date;symbol;close\n2024-01-02;A;1\n", {}, Refused("is separator right?")),
    "tabs": ("date\tsymbol\tclose\n2024-01-02\tA\t1.5\n", {"separator": "\t"}, [(D2, "A", 1.5)]),
    "an empty file": ("", {}, Refused("is empty")),
    "a header only": (HEAD, {}, Refused("contains no rows")),
    "no end of the last line": (csv(A2 + "1.5"), {}, [(D2, "A", 1.5)]),
    "columns twice": (csv(A2 + "1\n"), {"columns": ["close", "close"]}, Refused("names 'close' twice")),
    "a two-digit format": (csv(A2 + "1\n"), {"date_format": "%d.%m.%y"}, Refused("a year of four digits")),
    "no such zone": (csv(A2 + "1\n"), {"timezone": "Mars"}, Refused("must be an IANA time zone")),
    "no such encoding": (csv(A2 + "1\n"), {"encoding": "utf-9"}, Refused("must be the name of a text encoding")),
    "marks alike": (csv(A2 + "1\n"), {"decimal": ",", "thousands": ","}, Refused("same mark")),
}  # fmt: skip


@pytest.mark.parametrize(("content", "config", "wanted"), TEXTS.values(), ids=TEXTS)
def test_a_text_gives_the_right_rows_or_one_line(
    tmp_path: Path, content: str | bytes, config: dict[str, Any], wanted: Any
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    expect(lambda: read(settle(path), **config), wanted)


def columns(**given: Any) -> pa.Table:
    return pa.table({"date": [D2], "symbol": ["A"], "close": [1.5], **given})


def moment(zone: str) -> pa.Array:
    return pa.array([datetime(2024, 1, 2, 23, tzinfo=UTC)], pa.timestamp("us", zone))


PARQUETS: dict[str, tuple[pa.Table, dict[str, Any], Any]] = {
    "decimals": (columns(close=[Decimal("1.50")]), {}, [(D2, "A", 1.5)]),
    "half precision": (columns(close=pa.array([1.5], pa.float16())), {}, [(D2, "A", 1.5)]),
    "categories": (columns(symbol=pa.array(["A"]).dictionary_encode()), {}, [(D2, "A", 1.5)]),
    "numbers as symbols": (columns(symbol=[600519]), {}, [(D2, "600519", 1.5)]),
    "floats as symbols": (columns(symbol=[600519.0]), {}, Refused("'600519.0' in row 1")),
    "truths as symbols": (columns(symbol=[True]), {}, Refused("Boolean, not a symbol")),
    "a zone": (columns(date=moment("Asia/Tokyo")), {}, [(D3, "A", 1.5)]),
    "a fixed offset": (columns(date=moment("+09:00")), {}, [(D3, "A", 1.5)]),
    "utc": (columns(date=moment("UTC")), {}, [(D2, "A", 1.5)]),
    "utc to a zone": (columns(date=moment("UTC")), {"timezone": "Asia/Tokyo"}, [(D3, "A", 1.5)]),
    "numbers as dates": (columns(date=[20240102]), {}, Refused("Int64, not a date")),
    "an unsigned number": (columns(close=pa.array([2**64 - 1], pa.uint64())), {}, Refused("a number is too large to be stored")),
    "a date too far": (columns(date=[date(24, 1, 2)]), {}, Refused("in row 1")),
    "no date": (columns(date=pa.array([None], pa.date32())), {}, Refused("no value in row 1")),
    "an index": (columns(__index_level_0__=[0]), {}, Refused("an index without a name")),
    "lists": (columns(close=[[1.5]]), {}, Refused("not supported by stores")),
    "a column twice": (
        pa.table([pa.array([D2]), pa.array(["A"]), pa.array([1]), pa.array([2])], names=["date", "symbol", "c", "c"]),
        {},
        Refused("no readable parquet file"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("table", "config", "wanted"), PARQUETS.values(), ids=PARQUETS)
def test_a_parquet_file_gives_the_right_rows_or_one_line(
    tmp_path: Path, table: pa.Table, config: dict[str, Any], wanted: Any
) -> None:
    pq.write_table(table, tmp_path / "x.parquet")
    expect(lambda: read(settle(tmp_path / "x.parquet"), **config), wanted)


ROWS: dict[str, tuple[Sequence[tuple[Any, ...]], dict[str, Any], Any]] = {
    "numbers and texts": ([("2024-01-02", "A", 1.5), ("2024-01-03", "A", "2,5")], {}, Refused("'2,5' in row 2, which is a text")),
    "whole numbers and fractions": ([("2024-01-02", "A", 1), ("2024-01-03", "A", 2.5)], {}, [(D2, "A", 1.0), (D3, "A", 2.5)]),
    "prices as texts": ([("2024-01-02", "A", "1.5"), ("2024-01-03", "A", None)], {}, Refused("'1.5' in row 1 of the query, which is not a number: cast it in the query")),
    "codes as texts": ([("2024-01-02", "A", "007"), ("2024-01-03", "A", "012")], {}, [(D2, "A", "007"), (D3, "A", "012")]),
    "an identifier among fractions": ([("2024-01-02", "A", 2**53 + 1), ("2024-01-03", "A", 1.5)], {}, Refused("9007199254740993 in row 1")),
    "an unknown column": ([("2024-01-02", "A", 1.5)], {"query": "select frm q"}, Refused("refuses: no such column")),
    "a comment": ([("2024-01-02", "A", 1.5)], {"query": "/* of\nmine */ SELECT * FROM q"}, [(D2, "A", 1.5)]),
    "a missing value": ([("2024-01-02", "A", None), ("2024-01-03", "A", 2.5)], {}, [(D2, "A", None), (D3, "A", 2.5)]),
    "two-digit years": ([("02-01-24", "A", 1.5)], {}, Refused("'02-01-24' in row 1 of the query, which is not a date")),
    "a year of 24": ([("0024-01-02", "A", 1.5)], {}, Refused("'0024-01-02' in row 1")),
    "a declared format": ([("02.01.2024", "A", 1.5)], {"date_format": "%d.%m.%Y"}, [(D2, "A", 1.5)]),
    "a time": ([("2024-01-02 16:00:00", "A", 1.5)], {}, [(D2, "A", 1.5)]),
    "an offset": ([("2024-01-02T23:30:00-05:00", "A", 1.5)], {}, [(D2, "A", 1.5)]),
    "an offset to a zone": ([("2024-01-02T23:30:00-05:00", "A", 1.5)], {"timezone": "Asia/Tokyo"}, [(D3, "A", 1.5)]),
    "rubbish after a date": ([("2024-01-02 or so", "A", 1.5)], {}, Refused("'2024-01-02 or so' in row 1")),
    "no date": ([(None, "A", 1.5), ("2024-01-02", "A", 1.5)], {}, Refused("no value in row 1")),
    "a number as date": ([(20240102, "A", 1.5)], {}, Refused("Int64, not a date")),
    "blanks": ([("2024-01-02", " 000001 ", 1.5)], {}, [(D2, "000001", 1.5)]),
    "a float symbol": ([("2024-01-02", 600519.0, 1.5)], {}, Refused("'600519.0' in row 1")),
    "bytes": ([("2024-01-02", "A", b"1")], {}, Refused("not supported by stores")),
    "all missing": ([("2024-01-02", "A", None)], {}, [(D2, "A", None)]),
}  # fmt: skip


@pytest.mark.parametrize(("given", "config", "wanted"), ROWS.values(), ids=ROWS)
def test_a_query_gives_the_right_rows_or_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: Sequence[tuple[Any, ...]],
    config: dict[str, Any],
    wanted: Any,
) -> None:
    with sqlite3.connect(tmp_path / "q.db") as database:
        database.execute("CREATE TABLE q (date, symbol, close)")
        database.executemany("INSERT INTO q VALUES (?, ?, ?)", given)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/q.db", poolclass=sa.NullPool)
    monkeypatch.setattr(sql, "open_engine", lambda _: engine)
    pipeline = SqlPipeline({"block": "b", "query": "SELECT * FROM q", **config})

    def make() -> pl.DataFrame:
        frame = conform(pipeline.extract(ExtractContext("q", NOW), [], None).frame)
        check_frame(frame)
        return frame

    expect(make, wanted)


def test_times_of_a_database_count_for_the_day_in_their_own_zone_or_the_declared_one() -> None:
    given = [datetime(2024, 1, 2, 23, tzinfo=ZoneInfo("America/New_York")), None, "2024-01-02"]
    assert sql._own_days(given, "") == [D2, None, "2024-01-02"]
    assert sql._own_days(given, "Asia/Tokyo") == [D3, None, "2024-01-02"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("no data")
    (tmp_path / ".hidden.csv").write_text("no data")
    settle_text(tmp_path / "a.csv", csv(A2 + "1\n"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(csv("2024-01-03,A,2.5\n").encode()))
    settle(tmp_path / "b.csv.gz")
    return tmp_path


def settle_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return settle(path)


@pytest.mark.parametrize("pattern", ["", "*.csv*", "?.csv*"])
def test_a_folder_and_a_pattern_are_all_their_files(folder: Path, pattern: str) -> None:
    path = str(folder / pattern)
    assert read(path).rows() == [(D2, "A", 1.0), (D3, "A", 2.5)]
    assert FilePipeline({"path": path}).check([]) == []


def test_a_cell_among_several_files_is_found_in_its_own(folder: Path) -> None:
    settle_text(folder / "c.csv", csv("2024-01-04,A,x\n"))
    expect(lambda: read(folder), Refused("'x' in row 2 of 'c.csv'"))
    settle_text(folder / "c.csv", "date,symbol,open\n2024-01-04,A,1\n")
    expect(lambda: read(folder), Refused("'c.csv' and 'a.csv' differ in columns: close, open"))
    expect(lambda: read(folder / "*.parquet"), Refused("file not found"))


def test_a_file_that_goes_on_changing_is_no_data_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes a line whenever the reader looks away."""
    monkeypatch.setattr(tables, "QUIET_SECONDS", 3600.0)
    path = tmp_path / "x.csv"
    path.write_text(HEAD)

    def go_on(_: float) -> None:
        with path.open("a") as stream:
            stream.write(f"2024-01-02,S{path.stat().st_size},1.5\n")

    monkeypatch.setattr(tables.time, "sleep", go_on)
    with pytest.raises(Unavailable, match="is being written"):
        read(path)
    assert read(settle(path)).height == tables.ATTEMPTS


def test_half_a_line_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "UNENDED_SECONDS", 3600.0)
    path = tmp_path / "x.csv"
    path.write_text(csv(A2 + "1"))

    def go_on(seconds: float) -> None:
        assert seconds > 0
        with path.open("a") as stream:
            stream.write(".5\n")
        settle(path)

    monkeypatch.setattr(tables.time, "sleep", go_on)
    assert read(path).rows() == [(D2, "A", 1.5)]


def test_a_day_of_a_configuration_has_a_year_of_four_digits() -> None:
    from prefect_instances.libs.plugins.market_data import MarketDataPipeline

    assert MarketDataPipeline({"start_date": "2020-01-02"}).config.start_date == date(2020, 1, 2)
    for wrong in (20200102, "20-01-02", "0020-01-02", "2020-W01-1", datetime(2020, 1, 2)):  # noqa: DTZ001
        with pytest.raises(InvalidSpec):
            MarketDataPipeline({"start_date": wrong})
