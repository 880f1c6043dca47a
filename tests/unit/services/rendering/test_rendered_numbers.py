"""How numbers and plots are shown to people."""

from __future__ import annotations

import pytest

from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.tear_sheets import name_bars


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.12345, "0.1235"),
        (-0.00001, "0.0000"),
        (446.45412, "446.4541"),
        (25547.4276, "25,547.43"),
        (-1234.5, "-1,234.50"),
        (13680.0, "13,680"),
        (3, "3"),
        ("2020-01-31", "2020-01-31"),
    ],
)
def test_a_number_has_as_many_digits_as_tell_something(value: object, shown: str) -> None:
    assert format_value(value) == shown


def test_one_bar_is_no_plural() -> None:
    assert [name_bars(count) for count in (1, 5, 1741)] == ["1 bar", "5 bars", "1,741 bars"]
