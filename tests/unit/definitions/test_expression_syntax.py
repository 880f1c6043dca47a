"""What the grammar of expressions refuses: everything else than formulas, each with its place."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_instances.libs.definitions.expressions.syntax import (
    MAX_LENGTH,
    AsNumber,
    Call,
    Name,
    Number,
    list_names,
    read_expression,
)
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.plugins.ops.sections import Scale
from prefect_instances.libs.plugins.ops.windows import Mean

REFUSED = {
    "attribute": "x.__class__",
    "method": "x.mean()",
    "subscript": "x[0]",
    "call of a builtin": "eval(x)",
    "import": "__import__(x)",
    "call of a call": "MEAN(x, 5)(x)",
    "lambda": "(lambda: x)()",
    "list comprehension": "SUM([y for y in x], 5)",
    "generator": "SUM((y for y in x), 5)",
    "text": "'x'",
    "formatted text": "f'{x}'",
    "bytes": "b'x'",
    "walrus": "(y := x)",
    "starred": "MEAN(*x)",
    "keyword": "MEAN(x, d=5)",
    "tuple": "(x, x)",
    "list": "[x]",
    "dict": "{x: x}",
    "set": "{x}",
    "ternary": "x if x > 0 else 1",
    "await": "await x",
    "yield": "(yield x)",
    "statement": "x = 1",
    "two statements": "x; x",
    "two lines": "x\nx",
    "comment": "x # all of it",
    "none": "x + None",
    "boolean": "x + True",
    "ellipsis": "x + ...",
    "complex": "x + 1j",
    "infinite": "x + 1e999",
    "modulo": "x % 2",
    "floor division": "x // 2",
    "matrix product": "x @ x",
    "shift": "x << 2",
    "bit and": "(x > 0) & (x < 1)",
    "bit not": "~x",
    "membership": "x in x",
    "identity": "x is x",
    "number as a condition": "IF(x, 1, 2)",
    "number in and": "x and x > 0",
    "not of a number": "not x",
    "no field": "1 + 2",
    "window over a constant": "x + MEAN(1, 5)",
    "section of a constant": "x + RANK(1)",
    "empty": "",
    "blank": " \n ",
    "unclosed": "MEAN(x, 5",
    "no argument": "MEAN()",
    "one argument too few": "MEAN(x)",
    "one argument too many": "MEAN(x, 5, 6)",
    "negative window": "REF(x, -1)",
    "zero window": "REF(x, 0)",
    "window below the least": "STD(x, 1)",
    "fractional window": "MEAN(x, 2.5)",
    "whole float window": "MEAN(x, 2.0)",
    "boolean window": "MEAN(x, True)",
    "computed window": "MEAN(x, 2 + 3)",
    "window from data": "MEAN(x, x)",
    "huge window": "REF(x, 99999999999999999999)",
    "scale from data": "SCALE(x, x)",
    "date": "x + date",
    "symbol": "symbol",
    "null byte": "x\0",
    "surrogate": "\ud800",
    "deep brackets": "(" * 500 + "x" + ")" * 500,
    "deep signs": "-" * 3900 + "x",
    "deep sum": "+".join(["x"] * 600),
    "deep calls": "ABS(" * 150 + "x" + ")" * 150,
    "too long": "x" * (MAX_LENGTH + 1),
    "too many digits": "x + " + "9" * 3900,
    "many parts": "MIN(" + "x*x*x*x+" * 130 + "x, 3)",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_formula_is_refused(case: str) -> None:
    tree, problems, _ = read_expression(REFUSED[case], load_installed())
    assert tree is None
    assert problems
    assert all(problem.path == "" and problem.message for problem in problems)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("x + y.z", "line 1, column 5: "),
        ("x +\n  y[1]", "line 2, column 3: "),
        ("  \n\n  'a'", "line 3, column 3: "),
        ("é + MEEN(x, 5)", "line 1, column 5: "),
        ("MEAN(x, 0)", "line 1, column 9: "),
    ],
)
def test_a_problem_tells_its_line_and_column(text: str, begins: str) -> None:
    _, problems, _ = read_expression(text, load_installed())
    assert [problem.message[: len(begins)] for problem in problems] == [begins]


def test_all_problems_are_found_at_once() -> None:
    _, problems, _ = read_expression(
        "MEEN(REF(x, -1), 5) + y.z * 'a' / IF(x, b[0], 2)", load_installed()
    )
    places = sorted(int(problem.message.split("column ")[1].split(":")[0]) for problem in problems)
    assert places == [1, 13, 23, 29, 38, 41]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("MEEN(x, 5)", "MEAN"), ("zscor(x)", "ZSCORE"), ("ts_meen(x, 5)", "TS_MEAN")],
)
def test_an_unknown_operator_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    _, problems, _ = read_expression(typed, load_installed())
    assert f"did you mean '{meant}'?" in problems[0].message


def test_a_negative_window_is_called_a_look_ahead() -> None:
    _, problems, _ = read_expression("DELTA(x, -5)", load_installed())
    assert "future" in problems[0].message


def test_line_breaks_and_blanks_do_not_count() -> None:
    spread, none, _ = read_expression("\n  MEAN(\n\tx,\n 5\n)  ", load_installed())
    assert none == []
    assert spread == read_expression("MEAN(x,5)", load_installed())[0]


def test_operators_are_found_whatever_their_case_and_by_alias() -> None:
    trees = [
        read_expression(f"{name}(x, 5)", load_installed())[0]
        for name in ("MEAN", "mean", "ts_mean", "Ts_Mean")
    ]
    assert trees == [Call(Mean(), (Name("x"),), (5,))] * 4


def test_a_constant_left_out_has_its_default() -> None:
    assert (
        read_expression("SCALE(x)", load_installed())[0]
        == read_expression("scale(x, 1)", load_installed())[0]
    )


def test_a_sign_before_a_number_is_part_of_it() -> None:
    assert read_expression("SCALE(x, -2)", load_installed())[0] == Call(
        Scale(), (Name("x"),), (-2.0,)
    )


def test_a_condition_where_a_number_is_needed_counts_as_one_or_zero() -> None:
    tree, _, _ = read_expression("SUM(x > 1, 20)", load_installed())
    assert isinstance(tree, Call)
    assert isinstance(tree.nodes[0], AsNumber)


def test_a_chained_comparison_is_both() -> None:
    assert (
        read_expression("1 < x < 2", load_installed())[0]
        == read_expression("1 < x and x < 2", load_installed())[0]
    )


def test_a_name_may_be_that_of_an_operator() -> None:
    tree, _, _ = read_expression("MEAN(MAX, 5)", load_installed())
    assert tree is not None
    assert list_names(tree) == ("MAX",)


@given(st.text(max_size=60))
@example("\\")
@example("0x1for x in")
@example("x" * 10 + "\r\n\x0c\u2028")
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    tree, problems, _ = read_expression(text, load_installed())
    assert (tree is None) == bool(problems)


@given(st.text(alphabet="xy01.,+-*/()<>=! andotIFMEANREF\n", max_size=80))
def test_any_almost_formula_is_read_or_refused_and_nothing_else(text: str) -> None:
    tree, problems, _ = read_expression(text, load_installed())
    assert (tree is None) == bool(problems)
    assert tree is None or not isinstance(tree, Number)
