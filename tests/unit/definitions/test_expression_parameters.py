"""Making arguments of an expression's constants."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions import Argument, Registry
from prefect_instances.libs.definitions.expressions import name_constants
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.definitions.saved import saved_macro

WINDOW, NUMBER = Argument.WINDOW, Argument.NUMBER

MADE = {
    "nothing": ("MEAN(close, 21)  / 2", {}, "MEAN(close, 21)  / 2", {}),
    "a_window": ("MEAN(close, 21)", {"d": 21}, "MEAN(close, d)", {"d": WINDOW}),
    "by_an_alias": ("ts_mean(close, 21)", {"d": 21}, "ts_mean(close, d)", {"d": WINDOW}),
    "a_number": ("close * 0.5", {"k": 0.5}, "close * k", {"k": NUMBER}),
    "everywhere": ("REF(x, 5) * 5 - 5.0", {"d": 5}, "REF(x, d) * d - d", {"d": WINDOW}),
    "below_a_sign": ("x * -2", {"k": 2}, "x * -k", {"k": NUMBER}),
    "over_lines": ("(x\n + 2)", {"k": 2}, "x + k", {"k": NUMBER}),
}


@pytest.mark.parametrize(("text", "parameters", "expression", "kinds"), MADE.values(), ids=MADE)
def test_constants_get_names(
    text: str, parameters: dict[str, float], expression: str, kinds: dict[str, Argument]
) -> None:
    named = name_constants(text, parameters, discover())
    assert (named.expression, dict(named.arguments)) == (expression, kinds)


def test_every_parameter_that_means_nothing_is_told() -> None:
    with pytest.raises(InvalidSpec) as caught:
        name_constants("MEAN(x, 5) + 2", {"x": 5, "d": 2, "e": 2, "f": 9, "a b": 5}, Registry())
    assert {problem.path for problem in caught.value.problems} == {
        "parameters.x",
        "parameters.e",
        "parameters.f",
        "parameters.a b",
    }


DOCUMENT = {
    "name": "TREND",
    "version": "1.0.0",
    "description": "Saved.",
    "expression": "MEAN(close, d)",
    "arguments": [["close", "series"], ["d", "window"]],
    "defaults": [21.0],
}


def test_a_saved_macro_is_what_its_document_says_and_one_class() -> None:
    macro = saved_macro(DOCUMENT)

    assert macro.document() == DOCUMENT
    assert macro is saved_macro(dict(DOCUMENT))
    assert macro.usage() == "TREND(close: series, d: window = 21)"
    assert not macro.declaration_problems()
    again = saved_macro({**DOCUMENT, "description": "Told otherwise."})
    other = saved_macro({**DOCUMENT, "expression": "STD(close, d)"})
    assert macro.content_hash() == again.content_hash() != other.content_hash()


def test_a_registry_is_extended_beside_itself_and_keeps_what_clashes_as_broken() -> None:
    plain = discover()
    macro, clash = saved_macro(DOCUMENT), saved_macro({**DOCUMENT, "name": "MEAN"})

    extended = plain.extended([macro, macro, clash])

    assert macro in extended.list()
    assert macro not in plain.list()
    assert [broken.entry_point for broken in extended.broken[len(plain.broken) :]] == [
        "saved MEAN 1.0.0"
    ]
