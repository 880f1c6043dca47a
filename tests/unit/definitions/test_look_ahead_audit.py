"""The look-ahead audit finds every planted leak, and none where there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.expressions import compile_expression
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.look_ahead import (
    Alteration,
    Audit,
    Change,
    audit_output,
    compare_outputs,
)
from prefect_instances.libs.definitions.op import Argument, Function
from prefect_instances.libs.definitions.registry import FUNCTIONS
from prefect_instances.libs.quant.calendar import Frequency, decision_bars
from tests.unit.definitions.planted_leaks import HONEST, LEAKS, Inputs, Pipe, make_inputs

INPUTS = make_inputs()
DATES = INPUTS["prices"]["date"].unique().to_list()
SEED, POINTS = 11, 2


@cache
def alter_inputs(how: Alteration) -> Inputs:
    """The inputs, altered; all audits here alter them in the same few ways."""
    return {
        name: how.apply(frame, name, decided=name == "signal") for name, frame in INPUTS.items()
    }


def audited(
    pipe: Pipe, points: int = POINTS, *, dates: Sequence[date] = DATES, by_period: bool = False
) -> Audit:
    """The audit of a pipeline over the inputs of all planted leaks, at some of ``dates``."""

    def compute(how: Alteration | None) -> pl.DataFrame:
        return pipe(alter_inputs(how) if how else INPUTS)

    return audit_output(compute, dates, SEED, points, by_period=by_period)


def test_there_are_enough_planted_leaks() -> None:
    assert len(LEAKS) == 60


@pytest.mark.parametrize("name", LEAKS)
def test_every_planted_leak_is_found(name: str) -> None:
    found = audited(LEAKS[name])

    assert not found.passed
    assert found.unstable is None
    assert [one.error for one in found.comparisons if one.error] == []
    leak = found.leaks[0].leak
    assert leak is not None
    assert leak.date is not None
    assert leak.date <= found.leaks[0].day


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_pipeline_is_no_leak(name: str) -> None:
    found = audited(HONEST[name])

    assert found.passed, found.verdict
    assert found.verdict == f"no look-ahead in {POINTS * len(Change)} comparisons on {POINTS} dates"


def test_the_last_bar_of_a_month_may_have_its_rows_with_the_next_bar() -> None:
    def decided_with(value: pl.Expr) -> Pipe:
        def pipe(inputs: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
            rows = inputs["prices"].sort("symbol", "date")
            days = rows["date"].unique().sort().to_list()
            ends = [days[bar] for bar in decision_bars(days, Frequency.MONTHLY)]
            found = rows.select("date", "symbol", value=value.over("symbol"))
            return found.filter(pl.col("date").is_in(ends))

        return pipe

    days = DATES[:40]  # to some days after the end of January
    honest, close = decided_with(pl.col("close")), pl.col("close")
    (found,) = audited(honest, len(days), dates=days).leaks
    assert (found.day, found.change) == (date(2024, 1, 31), Change.TRUNCATED)
    assert audited(honest, len(days), dates=days, by_period=True).passed
    leaks = audited(decided_with(close.shift(-1)), len(days), dates=days, by_period=True).leaks
    at_the_end = [one.change for one in leaks if one.day == date(2024, 1, 31)]
    assert at_the_end == [Change.SHUFFLED, Change.RESTATED]


def call(function: type[Function]) -> str:
    """A call of an op or macro of the registry on the fields of the prices."""
    series = iter(("close", "volume", "open"))
    given: dict[str, Any] = {
        name: {
            Argument.SERIES: lambda: next(series),
            Argument.CONDITION: lambda: "close > open",
            Argument.WINDOW: lambda: 5,
            Argument.NUMBER: lambda: 0.5,
        }[kind]()
        for name, kind in function.arguments.items()
    }
    return function.write_call(given)


BUILT_IN = [each for each in load_installed().list() if each.kind in FUNCTIONS]


@pytest.mark.parametrize("function", BUILT_IN, ids=lambda each: f"{each.kind} {each.name}")
def test_no_built_in_function_is_called_a_leak(function: type[Function]) -> None:
    program = compile_expression(call(function), load_installed())

    found = audited(lambda inputs: program.run(inputs["prices"].lazy()).collect())

    assert found.passed, (call(function), found.verdict)


def frame(values: list[float | None], symbol: str = "A", column: str = "x") -> pl.DataFrame:
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(len(values))]
    return pl.DataFrame({"date": days, "symbol": symbol, column: values})


NAN = float("nan")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (frame([1.0, NAN, None]), frame([1.0, NAN, None]), None),
        (frame([1.0, 2.0]), frame([1.0, 2.5]), "2024-01-02 A x: 2 became 2.5 (1 rows differ)"),
        (frame([1.0, NAN]), frame([1.0, 2.0]), "2024-01-02 A x: nan became 2 (1 rows differ)"),
        (frame([1.0, 2.0]), frame([1.0]), "2024-01-02 A: a row became nothing (1 rows differ)"),
        (frame([1.0]), frame([1.0, 2.0]), "2024-01-02 A: nothing became a row (1 rows differ)"),
        (frame([1.0]), frame([1.0], column="y"), "y: nothing became Float64 (1 rows differ)"),
    ],
)
def test_the_first_difference_is_told(
    before: pl.DataFrame, after: pl.DataFrame, told: str | None
) -> None:
    found = compare_outputs(before, after)

    assert (str(found) if found else None) == told


def test_the_size_of_a_difference_is_given_where_it_is_a_number() -> None:
    changed = compare_outputs(frame([1.0, 2.0]), frame([1.0, -0.5]))
    missing = compare_outputs(frame([1.0]), frame([None]))

    assert changed is not None
    assert missing is not None
    assert (changed.size, missing.size) == (2.5, None)


@pytest.mark.parametrize("change", Change)
def test_an_alteration_leaves_the_past_and_can_be_repeated(change: Change) -> None:
    prices, until = INPUTS["prices"], DATES[60]
    how = Alteration(until, change, 3)
    altered = how.apply(prices, "prices")
    past, later = altered.filter(pl.col("date") <= until), altered.filter(pl.col("date") > until)

    assert past.equals(prices.filter(pl.col("date") <= until))
    assert altered.equals(how.apply(prices, "prices"))
    assert altered.schema == prices.schema
    whole = prices.filter(pl.col("date") > until)
    fields = ["close", "volume", "open"]
    if change is Change.TRUNCATED:
        assert later.is_empty()
    elif change is Change.SHUFFLED:
        assert later.select("date", "symbol").equals(whole.select("date", "symbol"))
        assert later["close"].sort().equals(whole["close"].sort())
        assert not later["close"].equals(whole["close"])
    else:
        kept = whole.join(later, on=["date", "symbol"], how="inner", maintain_order="right")
        assert kept["symbol"].n_unique() == whole["symbol"].n_unique() - 1
        assert not any((kept[name] == later[name]).any() for name in fields)


def test_decisions_of_the_day_itself_and_later_knowledge_are_late() -> None:
    how = Alteration(date(2024, 2, 10), Change.TRUNCATED, 3)

    signal = how.apply(INPUTS["signal"], "signal", decided=True)
    assert signal["date"].max() == date(2024, 2, 9)
    known = how.apply(INPUTS["fundamentals"], "fundamentals")["knowledge_time"]
    assert known.dt.date().max() <= date(2024, 2, 10)  # type: ignore[operator]  # dates


def test_a_day_ends_at_midnight_of_the_time_zone() -> None:
    """Earnings of January 10 become known on January 30 at 8:00 UTC: on the 29th in the west."""
    how = Alteration(date(2024, 1, 29), Change.TRUNCATED, 3)
    west, utc = (
        how.apply(INPUTS["fundamentals"], "fundamentals", timezone=zone)
        for zone in ("Etc/GMT+12", "UTC")
    )
    late = west.join(utc, on=["date", "symbol", "knowledge_time"], how="anti")
    assert set(late["date"]) == {date(2024, 1, 10)}
    assert set(late["knowledge_time"].dt.date()) == {date(2024, 1, 30)}


def test_what_differs_without_a_change_is_called_unstable() -> None:
    turns = iter(range(9))
    found = audit_output(lambda _: frame([1.0, float(next(turns)), 3.0]), DATES[:3], SEED, 1)

    assert not found.passed
    assert found.verdict.startswith("two computations on the same inputs differ: 2024-01-02 A x")


def test_what_cannot_be_computed_on_altered_inputs_is_not_certified() -> None:
    def compute(how: Alteration | None) -> pl.DataFrame:
        if how and how.change is Change.TRUNCATED:
            raise ZeroDivisionError("too short\nsecond line")
        return frame([1.0, 2.0, 3.0])

    found = audit_output(compute, DATES[:3], SEED, 2)

    assert found.leaks == []
    assert not found.passed
    assert found.verdict == (
        "nothing could be compared on truncated inputs: ZeroDivisionError: too short"
    )


def test_an_output_of_one_date_has_no_past() -> None:
    with pytest.raises(DataRejected, match="fewer than two dates"):
        audit_output(lambda _: frame([1.0]), DATES, SEED, 1)


def test_an_audit_is_a_json_document_and_repeats_by_its_seed() -> None:
    one, other = (audited(LEAKS["shift(-1)"]).document() for _ in range(2))

    assert one == other
    told = json.loads(json.dumps(one, allow_nan=False))
    assert told["passed"] is False
    assert {entry["inputs"] for entry in told["comparisons"]} == set(Change)
