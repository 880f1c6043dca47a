"""The contract of the data: its shape, its identity, its growth, and the bounds of signals."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.content import (
    check_frame,
    check_signal,
    conform,
    content_hash,
    extend_hash,
    fill_missing,
    find_first_change,
    find_later_rows,
    merge,
    schema_hash,
)
from prefect_instances.libs.definitions.pipeline import Extract

START = date(2024, 1, 1)
SCHEMA = {
    "date": pl.Date,
    "symbol": pl.String,
    "x": pl.Float64,
    "n": pl.Int64,
    "s": pl.String,
    "b": pl.Boolean,
}

cells = st.tuples(
    st.one_of(st.none(), st.floats()),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.text(max_size=4)),
    st.one_of(st.none(), st.booleans()),
)


@st.composite
def frames(draw: st.DrawFn, min_rows: int = 0) -> pl.DataFrame:
    """Valid frames of up to five dates and four symbols, in any row order."""
    key = st.tuples(st.integers(0, 4), st.sampled_from(["A", "B", "C", "é" * 9]))
    keys = draw(st.lists(key, unique=True, min_size=min_rows, max_size=12))
    rows = [(START + timedelta(days=day), symbol, *draw(cells)) for day, symbol in keys]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def newest_date(rows: pl.DataFrame) -> date | None:
    return max(rows.get_column("date").to_list(), default=None)


def frame(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"date": [START], "symbol": ["A"], **columns})


@given(frame=frames(), data=st.data())
def test_the_hash_is_blind_to_order_and_chunks(frame: pl.DataFrame, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(frame.height)))
    columns = data.draw(st.permutations(frame.columns))
    cut = data.draw(st.integers(0, frame.height))
    shuffled = frame[order].select(columns)
    chunked = pl.concat([shuffled[:cut], shuffled[cut:]], rechunk=False)
    assert content_hash(chunked) == content_hash(frame)


@given(frame=frames(min_rows=1), data=st.data())
def test_the_hash_sees_every_change_of_a_value(frame: pl.DataFrame, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, frame.height - 1))
    column = data.draw(st.sampled_from(["x", "n", "s", "b"]))
    values = frame.get_column(column).to_list()
    new = data.draw(cells)[["x", "n", "s", "b"].index(column)]
    assume(repr(new) != repr(values[row]) and not (new == 0 == values[row]))
    values[row] = new
    changed = frame.with_columns(pl.Series(column, values, dtype=SCHEMA[column]))
    assert content_hash(changed) != content_hash(frame)


@given(frame=frames(min_rows=1), data=st.data())
def test_the_hash_sees_a_row_that_is_gone(frame: pl.DataFrame, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, frame.height - 1))
    assert content_hash(frame[:row].vstack(frame[row + 1 :])) != content_hash(frame)


@given(frame=frames(), cut=st.integers(0, 5))
def test_the_hash_is_extended_by_what_is_added(frame: pl.DataFrame, cut: int) -> None:
    day = START + timedelta(days=cut)
    before, after = frame.filter(pl.col("date") < day), frame.filter(pl.col("date") >= day)
    assert extend_hash(content_hash(before), after) == content_hash(frame)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (frame(x=[None]).cast({"x": pl.Float64}), frame(x=[float("nan")])),
        (frame(x=[None]).cast({"x": pl.Float64}), frame(x=[0.0])),
        (frame(x=[1.0]), frame(x=[1])),
        (frame(x=[1.0]), frame(y=[1.0])),
        (frame(x=[1.0]), frame(x=[1.0]).cast({"x": pl.Float32})),
        (frame(x=[""]), frame(x=[None]).cast({"x": pl.String})),
        (frame(x=["ab"], y=["c"]), frame(x=["a"], y=["bc"])),
        (frame(x=[1.0], y=[2.0]), frame(x=[2.0], y=[1.0])),
        (frame(x=[1.0]).clear(), frame(y=[1.0]).clear()),
    ],
    ids=[
        "null and nan",
        "null and zero",
        "integer and float",
        "names",
        "widths",
        "empty text and null",
        "where texts end",
        "which column",
        "schemas of no rows",
    ],
)
def test_the_hash_tells_apart(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert content_hash(one) != content_hash(other)


def test_the_hash_ignores_the_sign_of_zero_and_the_bits_of_nan() -> None:
    assert content_hash(frame(x=[0.0])) == content_hash(frame(x=[-0.0]))
    assert content_hash(frame(x=[float("nan")])) == content_hash(frame(x=[-float("nan")]))


def test_the_hash_is_the_same_in_every_process_and_release() -> None:
    # A change here makes every stored dataset look new: bump it only knowingly.
    code = (
        "import polars as pl; from datetime import date;"
        "from prefect_instances.libs.definitions.content import content_hash;"
        "print(content_hash(pl.DataFrame({'date': [date(2024, 1, 2), date(2024, 1, 1)],"
        " 'symbol': ['A', 'A'], 'close': [1.5, None], 'name': ['x', 'y']})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert result.stdout.strip() == PINNED


PINNED = "dcd1ee30142fe27301aa48fd9e785f8efec69963befcdf0624eb57f3a9461070"


def test_the_schema_hash_is_blind_to_the_order_of_columns() -> None:
    schema = pl.Schema(SCHEMA)
    assert schema_hash(schema) == schema_hash(dict(reversed(schema.items())))
    assert schema_hash(schema) != schema_hash({**schema, "x": pl.Float32()})


@given(frame=frames())
def test_conforming_twice_is_conforming_once(frame: pl.DataFrame) -> None:
    once = conform(frame)
    assert_frame_equal(conform(once), once)
    assert_frame_equal(once, frame, check_row_order=False)


def test_types_become_those_that_every_store_holds() -> None:
    given_frame = frame(
        u=pl.Series([3], dtype=pl.UInt16),
        c=pl.Series(["x"], dtype=pl.Categorical),
        t=pl.Series([datetime(2024, 1, 1, tzinfo=UTC)]).dt.convert_time_zone("Europe/Paris"),
        nothing=[None],
    )
    got = conform(given_frame)
    assert dict(got.schema) == {
        "date": pl.Date(),
        "symbol": pl.String(),
        "u": pl.Int64(),
        "c": pl.String(),
        "t": pl.Datetime("us", "UTC"),
        "nothing": pl.Float64(),
    }
    check_frame(got)


def test_a_number_that_does_not_fit_is_rejected() -> None:
    with pytest.raises(DataRejected):
        conform(frame(u=pl.Series([2**64 - 1], dtype=pl.UInt64)))


@given(frame=frames())
def test_a_valid_frame_has_no_problems(frame: pl.DataFrame) -> None:
    check_frame(frame)
    check_frame(frame)


TWO = {"date": [START, START], "symbol": ["A", "A"], "x": [1.0, 2.0]}
TIMES = [datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("broken", "rule", "count"),
    [
        (pl.DataFrame({"symbol": ["A"], "x": [1.0]}), "missing_column", 0),
        (pl.DataFrame({"date": [START], "x": [1.0]}), "missing_column", 0),
        (pl.DataFrame({"date": ["2024-01-01"], "symbol": ["A"], "x": [1.0]}), "wrong_type", 0),
        (pl.DataFrame({"date": [START], "symbol": [7], "x": [1.0]}), "wrong_type", 0),
        (pl.DataFrame({"date": [START], "symbol": ["A"]}), "no_field", 0),
        (frame(x=[[1.0]]), "wrong_type", 0),
        (frame(x=[timedelta(days=1)]), "wrong_type", 0),
        (frame(x=[1.0], X=[1.0]), "bad_name", 0),
        (frame(**{" ": [1.0]}), "bad_name", 0),
        (frame(x=[1.0], knowledge_time=[datetime(2024, 1, 1)]), "wrong_type", 0),  # noqa: DTZ001
        (pl.DataFrame({**TWO, "date": [START, None]}), "null_key", 1),
        (pl.DataFrame({**TWO, "symbol": pl.Series([None, None], dtype=pl.String)}), "null_key", 2),
        (pl.DataFrame(TWO), "duplicate_key", 2),
        (pl.DataFrame({**TWO, "knowledge_time": TIMES[:1] * 2}), "duplicate_key", 2),
        (pl.DataFrame({**TWO, "knowledge_time": [TIMES[0], None]}), "null_key", 1),
    ],
)
def test_a_broken_frame_is_rejected_with_its_rule_and_count(
    broken: pl.DataFrame, rule: str, count: int
) -> None:
    with pytest.raises(DataRejected) as caught:
        check_frame(broken)
    rules = caught.value.report["rules"]
    assert isinstance(rules, dict)
    assert rules[rule] == count
    json.dumps(caught.value.report, allow_nan=False)


def test_a_date_and_symbol_may_be_known_twice() -> None:
    check_frame(pl.DataFrame({**TWO, "knowledge_time": TIMES}))


def test_the_sample_is_small_whatever_is_broken() -> None:
    many = pl.DataFrame({"date": [START] * 500, "symbol": "A", "x": float("nan")})
    with pytest.raises(DataRejected) as caught:
        check_frame(many)
    sample = caught.value.report["sample"]
    assert isinstance(sample, list)
    assert len(sample) == 10
    assert sample[0] == {"rule": "duplicate_key", "date": "2024-01-01", "symbol": "A", "x": "nan"}


@given(base=frames(), extract=frames(), day=st.integers(-1, 6))
def test_a_merge_replaces_everything_from_since_on(
    base: pl.DataFrame, extract: pl.DataFrame, day: int
) -> None:
    since = START + timedelta(days=day)
    new = extract.filter(pl.col("date") >= since)
    assume(not new.is_empty())
    merged = merge(base, Extract(new, complete=False), since)
    assert_frame_equal(
        merged.filter(pl.col("date") < since),
        base.filter(pl.col("date") < since),
        check_row_order=False,
    )
    assert_frame_equal(merged.filter(pl.col("date") >= since), new, check_row_order=False)
    check_frame(merged)


@given(base=frames(), extract=frames(), day=st.integers(-1, 6))
def test_a_fast_append_is_the_same_as_the_merge(
    base: pl.DataFrame, extract: pl.DataFrame, day: int
) -> None:
    since = START + timedelta(days=day)
    overlap = base.filter(pl.col("date") >= since)
    newest = newest_date(base)
    for again in (overlap, overlap.clear()):
        later = extract.filter(pl.col("date") > (newest or since), pl.col("date") >= since)
        step = Extract(pl.concat([again, later]), complete=False)
        rows = find_later_rows(base.lazy(), step, since, newest)
        if rows is None:
            assert newest is None or (again.is_empty() and not overlap.is_empty())
            continue
        merged = merge(base, step, since)
        assert_frame_equal(conform(pl.concat([base, rows])), merged)
        assert extend_hash(content_hash(base), rows) == content_hash(merged)


@given(base=frames(), day=st.integers(-1, 6))
def test_an_extract_without_rows_changes_nothing(base: pl.DataFrame, day: int) -> None:
    since, newest = START + timedelta(days=day), newest_date(base)
    nothing = Extract(base.clear(), complete=False)
    assert_frame_equal(merge(base, nothing, since), base, check_row_order=False)
    rows = find_later_rows(base.lazy(), nothing, since, newest)
    assert (rows is None) if newest is None else (rows is not None and rows.is_empty())


@given(base=frames(), extract=frames(), day=st.integers(-1, 6), more=st.integers(0, 4))
def test_a_merge_up_to_a_date_leaves_the_later_rows(
    base: pl.DataFrame, extract: pl.DataFrame, day: int, more: int
) -> None:
    since, until = START + timedelta(days=day), START + timedelta(days=day + more)
    inside = pl.col("date").is_between(since, until)
    new = extract.filter(inside)
    assume(not new.is_empty())
    for step in (
        Extract(extract.filter(pl.col("date") >= since), complete=False),
        Extract(extract, complete=True),
    ):
        merged = merge(base, step, since, until)
        assert_frame_equal(merged.filter(inside), new, check_row_order=False)
        assert_frame_equal(merged.filter(~inside), base.filter(~inside), check_row_order=False)
        check_frame(merged)
        rows = find_later_rows(base.lazy(), step, since, newest_date(base), until)
        if rows is not None:
            assert_frame_equal(conform(pl.concat([base, rows])), merged)


@given(base=frames(), extract=frames())
def test_the_first_change_is_where_two_datasets_part(
    base: pl.DataFrame, extract: pl.DataFrame
) -> None:
    first = find_first_change(base, extract)
    if first is None:
        assert content_hash(base) == content_hash(extract)
        return
    before = pl.col("date") < first
    assert content_hash(base.filter(before)) == content_hash(extract.filter(before))
    upto = pl.col("date") <= first
    assert content_hash(base.filter(upto)) != content_hash(extract.filter(upto))


def test_with_other_columns_no_date_is_as_it_was() -> None:
    assert find_first_change(frame(x=[1.0]), frame(y=[1.0])) is None


def test_a_revised_row_is_no_append() -> None:
    base = frame(x=[1.0])
    step = Extract(frame(x=[2.0]), complete=False)
    assert find_later_rows(base.lazy(), step, START, START) is None


@pytest.mark.parametrize("base", [None, frame(x=[9.0])])
def test_a_complete_extract_is_everything(base: pl.DataFrame | None) -> None:
    new = frame(y=[1])
    assert_frame_equal(merge(base, Extract(new, complete=True), START), new)


def test_without_anything_stored_or_a_since_the_extract_is_everything() -> None:
    new = frame(x=[1.0])
    assert_frame_equal(merge(None, Extract(new, complete=False), START), new)
    assert_frame_equal(merge(frame(x=[2.0]), Extract(new, complete=False), None), new)


@pytest.mark.parametrize("new", [frame(x=["a"]), frame(y=[1.0]), frame(x=[1.0], y=[1.0])])
def test_an_incremental_extract_with_other_columns_is_rejected(new: pl.DataFrame) -> None:
    step = Extract(new, complete=False)
    with pytest.raises(DataRejected):
        merge(frame(x=[1.0]), step, START)
    with pytest.raises(DataRejected):
        find_later_rows(frame(x=[1.0]).lazy(), step, START, START)


def test_an_incremental_extract_with_earlier_rows_is_rejected() -> None:
    with pytest.raises(DataRejected) as caught:
        merge(frame(x=[1.0]), Extract(frame(x=[1.0]), complete=False), START + timedelta(days=1))
    assert caught.value.report["rules"] == {"before_since": 1}


NAN, INF = float("nan"), float("inf")


def signal(*values: object) -> pl.DataFrame:
    days = [START + timedelta(days=i) for i in range(len(values))]
    series = pl.Series(values, dtype=pl.Float64)
    return pl.DataFrame({"date": days, "symbol": "A", "value": series})


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ((0.5, -2.0, -3.0), {"below_min": 2}),
        ((0.5, 2.0), {"above_max": 1}),
        ((NAN, 0.0, None), {"missing": 2}),
        ((INF, -INF, 0.0), {"infinite": 2}),
        ((-9.0, 9.0, NAN, INF), {"below_min": 1, "above_max": 1, "missing": 1, "infinite": 1}),
    ],
)
def test_a_signal_out_of_bounds_is_rejected_by_rule(
    values: tuple[float, ...], rules: dict[str, int]
) -> None:
    with pytest.raises(DataRejected) as caught:
        check_signal(signal(*values), min_value=-1.0, max_value=1.0)
    assert caught.value.report["rules"] == rules
    json.dumps(caught.value.report, allow_nan=False)


@given(
    values=st.lists(st.one_of(st.none(), st.floats()), max_size=30),
    low=st.floats(-5, 0),
    high=st.floats(0, 5),
    allow_nan=st.booleans(),
)
def test_a_signal_is_accepted_just_if_every_value_is(
    values: list[float | None], low: float, high: float, allow_nan: bool
) -> None:
    def fine(value: float | None) -> bool:
        return allow_nan if value is None or value != value else low <= value <= high

    try:
        check_signal(signal(*values), low, high, allow_nan)
    except DataRejected as rejected:
        sample, rules = rejected.report["sample"], rejected.report["rules"]
        assert isinstance(sample, list)
        assert isinstance(rules, dict)
        assert sum(rules.values()) == sum(not fine(value) for value in values) > 0
        assert len(sample) == min(10, sum(rules.values()))
    else:
        assert all(fine(value) for value in values)


def test_a_signal_without_bounds_takes_any_finite_value() -> None:
    check_signal(signal(-1e300, 1e300))


def test_a_signal_must_be_numeric_and_have_its_index() -> None:
    with pytest.raises(DataRejected) as text:
        check_signal(frame(value=["x"]))
    assert text.value.report["rules"] == {"not_numeric": 1}
    with pytest.raises(DataRejected) as index:
        check_signal(frame(value=[1.0]), index_columns=("date", "sector"))
    assert index.value.report["rules"] == {"index_missing": 1}


def test_the_index_of_a_signal_is_unique_and_present() -> None:
    with pytest.raises(DataRejected) as caught:
        check_signal(
            pl.DataFrame({"date": [START, START], "symbol": ["A", None], "value": 1.0}),
            index_columns=("date",),
        )
    assert caught.value.report["rules"] == {"duplicate_key": 2, "not_numeric": 2}


def test_a_neutral_value_fills_missing_values_of_fields_alone() -> None:
    frame = pl.DataFrame(
        {
            "date": [START, START, None],
            "symbol": ["A", None, "C"],
            "level": [1, None, 3],
            "x": [float("nan"), None, 2.5],
            "n": [None, 4, 5],
        }
    )

    filled = fill_missing(frame, 0.5, ["date", "symbol", "level"])

    assert filled.select("date", "symbol", "level").equals(frame.select("date", "symbol", "level"))
    assert filled["x"].to_list() == [0.5, 0.5, 2.5]
    assert filled["n"].to_list() == [0.5, 4.0, 5.0]
