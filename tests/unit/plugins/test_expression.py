"""The expression pipeline: where its names come from, how inputs meet, and what it delivers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from prefect_instances.libs.core.errors import DataRejected, InvalidSpec
from prefect_instances.libs.definitions.base import UpstreamShape
from prefect_instances.libs.definitions.content import check_frame
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input
from prefect_instances.libs.plugins.expression import ExpressionPipeline

START = date(2024, 1, 1)


def long(column: str = "close", **series: list[float | None]) -> pl.DataFrame:
    """One row a day and symbol from ``START``, one keyword a symbol."""
    rows = [
        (START + timedelta(days=day), symbol, value)
        for symbol, values in series.items()
        for day, value in enumerate(values)
    ]
    schema = {"date": pl.Date, "symbol": pl.String, column: pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def given(frame: pl.DataFrame, resource: str = "prices", role: str = "input") -> Input:
    return Input(resource, role, frame.lazy())


def run(config: Mapping[str, object] | str, *inputs: Input, as_of: date | None = None) -> Extract:
    pipeline = ExpressionPipeline({"expression": config} if isinstance(config, str) else config)
    context = ExtractContext("signal", datetime(2024, 2, 1, tzinfo=UTC), as_of)
    return pipeline.extract(context, inputs, START)


def values(extract: Extract, column: str = "value") -> dict[tuple[int, str], float]:
    rows = extract.frame.select("date", "symbol", column).rows()
    return {((day - START).days, symbol): value for day, symbol, value in rows}


def check(config: Mapping[str, object], *upstreams: UpstreamShape) -> list[tuple[str, str]]:
    problems = ExpressionPipeline(config).check(upstreams)
    return [(problem.path, problem.message) for problem in problems]


PRICES = UpstreamShape("prices", "input", "DatasetInstance", ("date", "symbol", "close", "volume"))
INDEX = UpstreamShape("spx", "index", "DatasetInstance", ("date", "symbol", "close"))
NEW = UpstreamShape("fresh", "input", "DatasetInstance", None)


def test_a_bare_name_is_a_column_of_the_first_upstream() -> None:
    extract = run("DELTA(close, 1)", given(long(A=[1, 3, 6], B=[2, 2, 1])))
    assert values(extract) == {(1, "A"): 2, (2, "A"): 3, (1, "B"): 0, (2, "B"): -1}
    assert extract.complete
    check_frame(extract.frame)


def test_the_output_column_has_its_name() -> None:
    extract = run({"expression": "close * 2", "output": "twice"}, given(long(A=[1])))
    assert values(extract, "twice") == {(0, "A"): 2}


def test_names_may_come_from_several_upstreams_by_role_or_resource() -> None:
    config = {
        "expression": "close / book + size",
        "inputs": {
            "book": {"role": "fundamentals", "column": "value"},
            "size": {"resource": "caps", "column": "value"},
        },
    }
    extract = run(
        config,
        given(long(A=[10, 20], B=[30, 40])),
        given(long("value", A=[2, 4]), "books", "fundamentals"),
        given(long("value", A=[1, 1], B=[1, 1]), "caps"),
    )
    # B has no book value, so it has no result either.
    assert values(extract) == {(0, "A"): 6, (1, "A"): 6}


def test_the_rows_are_those_of_the_first_upstream_that_is_read() -> None:
    config = {"expression": "IF(close > 0, 1, 0)", "inputs": {"close": {"role": "second"}}}
    extract = run(config, given(long(Z=[1])), given(long(A=[1, 2]), "other", "second"))
    assert set(values(extract)) == {(0, "A"), (1, "A")}


def test_one_symbol_is_broadcast_to_all_by_date() -> None:
    config = {
        "expression": "close - mkt",
        "inputs": {"mkt": {"role": "index", "column": "close", "symbol": "SP500"}},
    }
    extract = run(
        config,
        given(long(A=[10, 20], B=[30, 40])),
        given(long(SP500=[1, 2, 3], OTHER=[9, 9, 9]), "spx", "index"),
    )
    assert values(extract) == {(0, "A"): 9, (1, "A"): 18, (0, "B"): 29, (1, "B"): 38}


def test_the_order_of_the_upstreams_does_not_make_a_broadcast_the_frame() -> None:
    config = {
        "expression": "mkt + close",
        "inputs": {
            "mkt": {"role": "index", "column": "close", "symbol": "SP500"},
            "close": {"role": "input"},
        },
    }
    index, prices = given(long(SP500=[1]), "spx", "index"), given(long(A=[10], B=[20]))
    assert values(run(config, index, prices)) == {(0, "A"): 11, (0, "B"): 21}


def test_a_symbol_of_the_same_upstream_may_be_broadcast() -> None:
    config = {"expression": "close / a", "inputs": {"a": {"column": "close", "symbol": "A"}}}
    assert values(run(config, given(long(A=[2], B=[6])))) == {(0, "A"): 1, (0, "B"): 3}


def test_rows_without_a_value_are_left_out() -> None:
    extract = run("1 / close", given(long(A=[0, None, float("nan"), float("inf"), 4])))
    assert values(extract) == {(4, "A"): 0.25}


def test_an_as_of_hides_what_is_later_from_the_windows_too() -> None:
    frame = long(A=[1, 2, 3], B=[3, 2, 1])
    whole = values(run("RANK(close)", given(frame)))
    early = values(run("RANK(close)", given(frame), as_of=START + timedelta(days=1)))
    assert early == {key: value for key, value in whole.items() if key[0] <= 1}


def test_points_in_time_are_no_part_of_the_result() -> None:
    frame = long(A=[1]).with_columns(knowledge_time=pl.lit(datetime(2024, 1, 2, tzinfo=UTC)))
    assert run("close", given(frame)).frame.columns == ["date", "symbol", "value"]


def test_a_result_without_any_value_is_rejected_and_says_how_far_it_looks_back() -> None:
    with pytest.raises(DataRejected) as caught:
        run("DELTA(close, 252)", given(long(A=[1, 2, 3])))
    report = caught.value.report
    assert (report["lookback"], report["rows"], report["present"]) == (252, 3, {"close": 3})


def test_a_key_that_is_there_twice_is_rejected() -> None:
    frame = pl.concat([long(A=[1]), long(A=[2])])
    with pytest.raises(DataRejected) as caught:
        run("close", given(frame))
    assert caught.value.report == {"resource": "prices", "rows": 2}


def test_a_broadcast_symbol_that_is_not_there_is_rejected() -> None:
    config = {"expression": "close - m", "inputs": {"m": {"column": "close", "symbol": "SPX"}}}
    with pytest.raises(DataRejected) as caught:
        run(config, given(long(A=[1])))
    assert caught.value.report["symbol"] == "SPX"


def test_a_column_of_text_is_rejected() -> None:
    frame = long(A=[1]).with_columns(close=pl.lit("x"))
    with pytest.raises(DataRejected) as caught:
        run("close", given(frame))
    assert caught.value.report["column"] == "close"


def test_a_column_that_vanished_since_the_check_is_told_at_the_run() -> None:
    with pytest.raises(InvalidSpec):
        run("volume", given(long(A=[1])))
    with pytest.raises(InvalidSpec):
        run("close")


@pytest.mark.parametrize(
    ("config", "upstreams"),
    [
        ({"expression": "ZSCORE(DELTA(close, 252)) * volume"}, (PRICES,)),
        ({"expression": "x", "inputs": {"x": {"column": "close"}}}, (PRICES, INDEX)),
        ({"expression": "close", "inputs": {"close": {"role": "index"}}}, (PRICES, INDEX)),
        ({"expression": "anything"}, (NEW, PRICES)),
        (
            {"expression": "close", "inputs": {"close": {"role": "input", "resource": "prices"}}},
            (NEW, PRICES),
        ),
    ],
)
def test_what_will_run_has_no_problem(
    config: Mapping[str, object], upstreams: tuple[UpstreamShape, ...]
) -> None:
    assert check(config, *upstreams) == []


@pytest.mark.parametrize(
    ("config", "upstreams", "path", "says"),
    [
        ({"expression": "close"}, (), "upstream_refs", "at least 1"),
        ({"expression": "clsoe"}, (PRICES,), "config.expression", "did you mean 'close'?"),
        ({"expression": "close", "output": "date"}, (PRICES,), "config.output", "key"),
        ({"expression": "MEAN(close, -5)"}, (PRICES,), "config.expression", "line 1, column 13"),
        (
            {"expression": "x", "inputs": {"x": {"role": "indx", "column": "close"}}},
            (PRICES, INDEX),
            "config.inputs.x",
            "no upstream has role 'indx'",
        ),
        (
            {"expression": "x", "inputs": {"x": {"role": "input", "column": "close"}}},
            (PRICES, NEW),
            "config.inputs.x",
            "2 upstreams have role 'input'",
        ),
        (
            {"expression": "x", "inputs": {"x": {"role": "index", "column": "open"}}},
            (PRICES, INDEX),
            "config.inputs.x",
            "there are close",
        ),
        (
            {"expression": "close", "inputs": {"clsoe": {"role": "index", "column": "close"}}},
            (PRICES, INDEX),
            "config.inputs.clsoe",
            "does not use",
        ),
        (
            {"expression": "x", "inputs": {"x": {"column": "close", "symbol": "SPX"}}},
            (PRICES,),
            "config.inputs",
            "at least one name",
        ),
    ],
)
def test_what_cannot_run_is_told_before(
    config: Mapping[str, object], upstreams: tuple[UpstreamShape, ...], path: str, says: str
) -> None:
    problems = check(config, *upstreams)
    assert [found for found, _ in problems] == [path]
    assert says in problems[0][1]


def test_all_problems_are_told_at_once() -> None:
    config: Mapping[str, object] = {
        "expression": "clsoe + x",
        "inputs": {"x": {"role": "no"}, "y": {}},
        "output": "symbol",
    }
    assert sorted(path for path, _ in check(config, PRICES)) == [
        "config.expression",
        "config.inputs.x",
        "config.inputs.y",
        "config.output",
    ]


def test_the_code_of_the_compiler_is_part_of_the_definition() -> None:
    class Alone(ExpressionPipeline):
        source_modules = ()

    Alone.__module__ = ExpressionPipeline.__module__
    assert Alone.content_hash() != ExpressionPipeline.content_hash()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan"), None])
def test_a_price_that_is_not_usable_is_a_missing_one(bad: float | None) -> None:
    extract = run("close / REF(close, 1)", given(long(A=[1.0, bad, 2.0, 4.0])))
    assert values(extract) == {(3, "A"): 2}


def test_what_is_no_price_may_be_zero() -> None:
    extract = run("flow + 1", given(long("flow", A=[0.0, -1.0])))
    assert values(extract) == {(0, "A"): 1, (1, "A"): 0}
