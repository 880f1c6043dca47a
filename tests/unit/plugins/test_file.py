"""CSV and Parquet files as datasets."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, Unavailable
from prefect_instances.libs.definitions.content import check_frame
from prefect_instances.libs.definitions.pipeline import ExtractContext
from prefect_instances.libs.plugins import tables
from prefect_instances.libs.plugins.file import FilePipeline

TEXT = "date,symbol,close,note\n2024-01-02,A,1.5,x\n2024-01-02,B,,y\n2024-01-03,A,2,\n"


def extract(path: Path | str, as_of: date | None = None, **config: object) -> pl.DataFrame:
    context = ExtractContext("file", datetime(2024, 1, 1, tzinfo=UTC), as_of)
    pipeline = FilePipeline({"path": str(path), **config})
    got = pipeline.extract(context, [], date(2024, 1, 3))
    assert got.complete
    return got.frame


def paths(path: Path | str, **config: object) -> list[str]:
    problems = FilePipeline({"path": str(path), **config}).check([])
    return sorted(problem.path for problem in problems)


@pytest.fixture(autouse=True)
def files_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has just written is not waited for; test_source_inputs.py is about that."""
    monkeypatch.setattr(tables, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(tables, "UNENDED_SECONDS", 0.0)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text(TEXT)
    return path


def test_a_csv_is_a_valid_dataset(csv: Path) -> None:
    frame = extract(csv)
    check_frame(frame)
    assert frame.rows()[1:] == [
        (date(2024, 1, 2), "B", None, "y"),
        (date(2024, 1, 3), "A", 2.0, None),
    ]
    assert paths(csv) == []


def test_a_gzip_and_a_parquet_file_hold_the_same(csv: Path, tmp_path: Path) -> None:
    zipped, parquet = tmp_path / "prices.CSV.gz", tmp_path / "prices.parquet"
    zipped.write_bytes(gzip.compress(csv.read_bytes()))
    extract(csv).write_parquet(parquet)
    assert extract(zipped).equals(extract(csv))
    assert extract(parquet).equals(extract(csv))
    assert paths(zipped) == paths(parquet) == []


def test_a_relative_path_starts_at_the_working_directory(
    csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(csv.parent)
    assert extract("prices.csv").height == 3


def test_columns_are_renamed_and_chosen(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("Day,Ticker,close,volume\n2024-01-02,A,1,2\n")
    config: dict[str, Any] = {"format": "csv", "date_column": "Day", "symbol_column": "Ticker"}
    assert extract(path, **config).columns == ["date", "symbol", "close", "volume"]
    assert extract(path, **config, columns=["volume"]).columns == ["date", "symbol", "volume"]


def test_an_as_of_limits_the_dates(csv: Path) -> None:
    assert extract(csv, as_of=date(2024, 1, 2)).height == 2
    with pytest.raises(DataRejected):
        extract(csv, as_of=date(2023, 1, 1))


def test_symbols_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("date,symbol,close\n2024-01-02,000001,1\n2024-01-02,TRUE,1\n")
    assert extract(path).get_column("symbol").to_list() == ["000001", "TRUE"]


@pytest.mark.parametrize(
    "written", ["2024-01-02", "2024-01-02 00:00:00", "2024-01-02T00:00:00.000", " 2024-01-02 "]
)
def test_a_date_may_be_written_as_other_tools_do(tmp_path: Path, written: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"date,symbol,close\n{written},A,1\n")
    assert extract(path).get_column("date").to_list() == [date(2024, 1, 2)]


@pytest.mark.parametrize("written", ["02.01.2024", "2024-13-01", "2024-02-30", "soon", ""])
def test_dates_that_are_none_are_counted_and_shown(tmp_path: Path, written: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"date,symbol,close\n2024-01-02,A,1\n{written},B,1\n")
    with pytest.raises(DataRejected) as caught:
        extract(path)
    assert caught.value.report["count"] == 1
    assert caught.value.report["sample"] == [written or "None"]


def test_times_of_knowledge_need_a_zone(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    head = "date,symbol,close,knowledge_time\n2024-01-02,A,1,"
    path.write_text(f"{head}2024-01-03T09:30:00+02:00\n2024-01-02,A,2,2024-01-04T00:00:00.5Z\n")
    frame = extract(path)
    check_frame(frame)
    assert frame.get_column("knowledge_time").to_list() == [
        datetime(2024, 1, 3, 7, 30, tzinfo=UTC),
        datetime(2024, 1, 4, 0, 0, 0, 500_000, tzinfo=UTC),
    ]
    assert "knowledge_time" in extract(path, columns=["close"]).columns
    path.write_text(f"{head}2024-01-03T09:30:00\n")
    with pytest.raises(DataRejected) as caught:
        extract(path)
    assert caught.value.report["column"] == "knowledge_time"


def test_naive_times_of_knowledge_in_parquet_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    moment = datetime(2024, 1, 3)  # noqa: DTZ001 - that is the point
    pl.DataFrame(
        {"date": [moment], "symbol": ["A"], "close": [1.0], "knowledge_time": [moment]}
    ).write_parquet(path)
    with pytest.raises(DataRejected):
        extract(path)


def test_a_missing_file_is_found_before_any_run_and_at_a_run(tmp_path: Path) -> None:
    assert paths(tmp_path / "none.csv") == ["config.path"]
    assert paths(tmp_path) == ["config.path"]
    with pytest.raises(Unavailable):
        extract(tmp_path / "none.csv")


def test_missing_columns_are_all_told_with_the_nearest(csv: Path) -> None:
    config: dict[str, Any] = {
        "date_column": "dat",
        "symbol_column": "ticker",
        "columns": ["close", "clos", "z"],
    }
    expected = ["config.columns[1]", "config.columns[2]", "config.date_column"]
    assert paths(csv, **config) == [*expected, "config.symbol_column"]
    problems = FilePipeline({"path": str(csv), **config}).check([])
    assert any("did you mean 'close'?" in problem.message for problem in problems)
    with pytest.raises(DataRejected):
        extract(csv, **config)


def test_a_format_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "prices.txt"
    path.write_text(TEXT)
    assert paths(path) == ["config.format"]
    assert paths(path, format="csv") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"this is no parquet file"),
        ("x.parquet", b""),
        ("x.csv", b""),
        ("x.csv.gz", b"this is no gzip file"),
    ],
)
def test_a_file_of_another_format_is_a_problem_and_rejected(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert paths(path)
    with pytest.raises(DataRejected):
        extract(path)


@pytest.mark.parametrize(
    "content",
    [
        b"date,symbol,close\n2024-01-02,A,1,2,3\n",
        b"date,symbol,close\n2024-01-02,\xc4,1\n",
        b"date,symbol,close\n",
    ],
    ids=["ragged", "not utf-8", "no rows"],
)
def test_broken_content_is_rejected_at_the_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(DataRejected):
        extract(path)


def test_a_field_named_like_a_key_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("day,symbol,date\n2024-01-02,A,1\n")
    with pytest.raises(DataRejected):
        extract(path, date_column="day")


def test_a_path_is_required_and_the_formats_are_two() -> None:
    with pytest.raises(InvalidSpec):
        FilePipeline({})
    with pytest.raises(InvalidSpec):
        FilePipeline({"path": "x", "format": "xlsx"})


def test_one_mark_is_not_both_decimal_and_thousands() -> None:
    with pytest.raises(InvalidSpec, match="decimal and thousands are the same mark"):
        FilePipeline({"path": "x.csv", "decimal": ",", "thousands": ","})


def test_thousands_are_read_beside_a_decimal_point(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text('date,symbol,close\n2024-01-02,A,"1,234.5"\n')

    assert extract(file, thousands=",")["close"].to_list() == [1234.5]


def test_a_point_is_no_number_beside_a_decimal_comma(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("date,symbol,close\n2024-01-02,A,1.234\n")

    with pytest.raises(DataRejected, match=r"1\.234"):
        extract(file, decimal=",", types={"close": "number"})


def test_a_file_is_late_only_if_it_is_said_how_often_it_changes() -> None:
    assert FilePipeline({"path": "x.csv"}).data_frequency is None
    assert FilePipeline({"path": "x.csv", "data_frequency": "weekly:MON"}).data_frequency
    with pytest.raises(InvalidSpec, match="not one of daily"):
        FilePipeline({"path": "x.csv", "data_frequency": "hourly"})
