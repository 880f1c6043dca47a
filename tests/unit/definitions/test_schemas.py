"""Whether columns fit."""

from __future__ import annotations

import pytest

from prefect_instances.libs.definitions.schemas import misfits

UTC = "Datetime(time_unit='us', time_zone='UTC')"
PLAIN = "Datetime(time_unit='us', time_zone=None)"

CASES = {
    "the_same": ({"x": "Float64"}, {"x": "Float64", "y": "String"}, []),
    "nothing_needed": ({}, {}, []),
    "missing": ({"x": "Float64"}, {"y": "Float64"}, ["needs a column 'x' (Float64)"]),
    "other_type": ({"x": "Float64"}, {"x": "Int64"}, ["needs column 'x' as Float64, not Int64"]),
    "any_time": ({"t": "Datetime"}, {"t": UTC}, []),
    "some_time": ({"t": UTC}, {"t": "Datetime"}, []),
    "other_time": ({"t": UTC}, {"t": PLAIN}, [f"needs column 't' as {UTC}, not {PLAIN}"]),
    "all_at_once": (
        {"x": "Float64", "t": "Date"},
        {"t": "String"},
        ["needs a column 'x' (Float64)", "needs column 't' as Date, not String"],
    ),
}


@pytest.mark.parametrize(("needed", "delivered", "told"), CASES.values(), ids=CASES)
def test_what_does_not_fit_is_told(
    needed: dict[str, str], delivered: dict[str, str], told: list[str]
) -> None:
    assert list(misfits(needed, delivered)) == told
