"""Ops and macros as definitions: typed, versioned, written out, and never recursive."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec
from prefect_instances.libs.definitions import (
    Argument,
    Axis,
    DefinitionKind,
    Op,
    OpMacro,
    Registry,
)
from prefect_instances.libs.definitions.expressions import compile_expression, read_expression
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.plugins.expression import ExpressionPipeline
from prefect_instances.libs.plugins.ops.windows import Mean

SERIES, CONDITION, WINDOW, NUMBER = Argument
X = {"x": SERIES}


def op(name: str, version: str = "1.0.0", **more: Any) -> type[Op]:
    """An op that multiplies by its major version, unless it builds something else."""
    factor = int(version.split(".")[0])
    body = {"axis": Axis.ROW, "arguments": X, "build": lambda self, x: x * factor, **more}
    return type(name.title(), (Op,), {"name": name, "version": version, **body})


def macro(name: str, expression: str, version: str = "1.0.0", **arguments: Any) -> type[OpMacro]:
    body = {"expression": expression, "arguments": arguments or X}
    return type(name.title(), (OpMacro,), {"name": name, "version": version, **body})


def registry(*more: type[Op] | type[OpMacro]) -> Registry:
    return Registry([*load_installed().list(), *more])


def panel() -> pl.DataFrame:
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(30)]
    rows = [(day, symbol, float(7 * at % 11)) for symbol in "AB" for at, day in enumerate(days)]
    return pl.DataFrame(rows, schema=["date", "symbol", "x"], orient="row")


def values(text: str, known: Registry) -> pl.DataFrame:
    return compile_expression(text, known).run(panel().lazy()).collect().sort("date", "symbol")


MOMENTUM = macro("MOMENTUM", "ZSCORE(DELTA(x, 2 * d) / REF(x + 1, d + 1))", x=SERIES, d=WINDOW)
CLIPPED = macro(
    "CLIPPED",
    "IF(c, IF(x > top, top, x), 0)",
    c=CONDITION,
    x=SERIES,
    top=NUMBER,
)
NESTED = macro("NESTED", "MOMENTUM(CLIPPED(x > 1, x, 8), 3) + MEAN(x, 5)")


@pytest.mark.parametrize(
    ("text", "written_out"),
    [
        ("MOMENTUM(x, 3)", "ZSCORE(DELTA(x, 6) / REF(x + 1, 4))"),
        ("momentum(MEAN(x, 2), 3)", "ZSCORE(DELTA(MEAN(x, 2), 6) / REF(MEAN(x, 2) + 1, 4))"),
        ("CLIPPED(x > 2, x, 5) + 1", "IF(x > 2, IF(x > 5, 5, x), 0) + 1"),
        (
            "NESTED(x)",
            "ZSCORE(DELTA(IF(x > 1, IF(x > 8, 8, x), 0), 6)"
            " / REF(IF(x > 1, IF(x > 8, 8, x), 0) + 1, 4)) + MEAN(x, 5)",
        ),
    ],
)
def test_a_macro_is_its_expression_with_the_arguments_in_place(text: str, written_out: str) -> None:
    known = registry(MOMENTUM, CLIPPED, NESTED)
    assert read_expression(text, known).tree == read_expression(written_out, known).tree
    assert values(text, known).equals(values(written_out, known))


def test_the_calls_of_an_expression_are_those_within_macros_too() -> None:
    program = compile_expression("NESTED(x) - ABS(x)", registry(MOMENTUM, CLIPPED, NESTED))
    names = {each.name for each in program.calls}
    assert names == {
        *("NESTED", "MOMENTUM", "CLIPPED", "ABS"),
        *("ZSCORE", "DELTA", "REF", "IF", "MEAN"),
    }
    assert program.lookback == 6


def test_the_defaults_of_a_macro_fill_what_is_left_out() -> None:
    defaulted = macro("SMOOTH", "MEAN(x, d)", x=SERIES, d=WINDOW)
    defaulted.defaults = (4,)
    known = registry(defaulted)
    assert (
        read_expression("SMOOTH(x)", known).tree
        == read_expression("MEAN(x, 4)", load_installed()).tree
    )
    assert (
        read_expression("SMOOTH(x, 7)", known).tree
        == read_expression("MEAN(x, 7)", load_installed()).tree
    )
    assert defaulted.usage() == "SMOOTH(x: series, d: window = 4)"


@pytest.mark.parametrize(
    ("macros", "text", "said"),
    [
        ([macro("SELF", "SELF(x)")], "SELF(x)", "SELF -> SELF"),
        ([macro("P", "Q(x)"), macro("Q", "P(x)")], "P(x)", "P -> Q -> P"),
        ([macro("OTHER", "x + close")], "OTHER(x)", "'close' is not an argument of the macro"),
        ([macro("PYTHON", "x.__class__")], "PYTHON(x)", "attributes are not allowed"),
        ([macro("BACK", "REF(x, -d)", x=SERIES, d=WINDOW)], "BACK(x, 2)", "into the future"),
        ([macro("WINDOWED", "MEAN(x, x)")], "WINDOWED(x)", "must be a constant"),
        ([MOMENTUM], "MOMENTUM(x, REF(x, 1))", "the window of MOMENTUM must be a constant"),
        ([MOMENTUM], "MOMENTUM(x)", "takes 2 arguments, not 1"),
        ([CLIPPED], "CLIPPED(x, x, 1)", "a condition is needed"),
        ([op("LOUD")], "LOUDD(x)", "did you mean 'LOUD'?"),
    ],
)
def test_what_a_macro_cannot_be_is_refused(macros: list[Any], text: str, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        compile_expression(text, registry(*macros))
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_macros_that_double_their_argument_cannot_fill_the_memory() -> None:
    doubling = [macro("D0", "x + x")]
    doubling += [macro(f"D{at}", f"D{at - 1}(x) + D{at - 1}(x)") for at in range(1, 40)]
    with pytest.raises(InvalidSpec, match="more than 200 parts"):
        compile_expression("D39(x)", registry(*doubling))


def test_versions_of_an_op_live_side_by_side_and_can_be_pinned() -> None:
    known = registry(op("LOUD"), op("LOUD", "2.0.0"), macro("LOUDER", "LOUD(LOUD(x))"))
    kind = DefinitionKind.OP
    pinned = known.preferring({(kind, "LOUD"): "1.0.0"})
    assert values("LOUD(x)", known).equals(values("x * 2", known))
    assert values("LOUDER(x)", known).equals(values("x * 4", known))
    assert values("LOUD(x)", pinned).equals(values("x", known))
    with pytest.raises(DefinitionUnavailable) as missing:
        compile_expression("LOUDER(x)", known.preferring({(kind, "LOUD"): "3.0.0"}))
    assert (missing.value.name, missing.value.version) == ("LOUD", "3.0.0")


def test_the_pipeline_pins_versions_by_its_configuration() -> None:
    known = registry(op("LOUD"), op("LOUD", "2.0.0"))

    def problems(**ops: str) -> list[str]:
        config = {"expression": "LOUD(x)", "ops": ops}
        return [problem.path for problem in ExpressionPipeline(config, known).check(())]

    def calls(**ops: str) -> set[tuple[str, str]]:
        pipeline = ExpressionPipeline({"expression": "LOUD(x)", "ops": ops}, known)
        return {(each.name, each.version) for each in pipeline.calls()}

    assert calls() == {("LOUD", "2.0.0")}
    assert calls(loud="1.0.0") == {("LOUD", "1.0.0")}
    assert problems(LOUD="3.0.0") == ["upstream_refs", "config.ops.LOUD"]
    assert problems(ZSCORE="1.0.0") == ["upstream_refs", "config.ops.ZSCORE"]


def test_an_op_is_used_from_python_as_in_an_expression() -> None:
    frame = panel().sort("symbol", "date")
    by_hand = frame.select("date", "symbol", value=Mean()(pl.col("x"), 5)).drop_nulls()
    assert by_hand.sort("date", "symbol").equals(values("MEAN(x, 5)", load_installed()))
    with pytest.raises(TypeError, match="does not take 1 arguments"):
        Mean()(pl.col("x"))


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (op("lower"), "name"),
        (op("GOOD", axis="rows"), "axis"),
        (op("GOOD", arguments={}), "arguments"),
        (op("GOOD", arguments={"x": SERIES, "d": WINDOW, "y": SERIES}), "arguments"),
        (op("GOOD", defaults=(1.0,)), "defaults"),
        (op("GOOD", aliases=("with blank",)), "aliases"),
        (macro("GOOD", " "), "expression"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_path(wrong: Any, path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Registry([wrong])
    assert {problem.path.partition(".")[2] for problem in caught.value.problems} == {path}


def test_an_op_and_a_macro_cannot_have_one_name() -> None:
    with pytest.raises(InvalidSpec, match="already"):
        registry(macro("MEAN", "x + x"))


def test_an_alias_that_means_two_functions_is_refused_where_it_is_used() -> None:
    known = registry(op("ONE", aliases=("SAME",)), op("TWO", aliases=("SAME",)))
    with pytest.raises(InvalidSpec, match="may mean OpDef ONE or OpDef TWO"):
        compile_expression("SAME(x)", known)
    assert values("ONE(x)", known).equals(values("x + 0", known))


def test_functions_describe_how_they_are_called() -> None:
    described = {each.name: each.describe() for each in registry(MOMENTUM).list()}
    assert described["MEAN"]["usage"] == "MEAN(x: series, d: window)"
    assert described["MEAN"]["axis"] == "symbol"
    assert described["MOMENTUM"]["expression"] == MOMENTUM.expression
    assert len(described["MEAN"]["content_hash"]) == 64
