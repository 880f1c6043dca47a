"""Constraints and rebalancing days that no optimizer can keep are told with their path."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_instances.libs.specs.instances.optimizers import ConstraintsSpec, day_faults


@pytest.mark.parametrize(
    ("constraints", "paths"),
    [
        ({"gross_leverage": 1.0, "max_turnover": 0.1, "min_weight": 0.2, "max_weight": 0.2}, []),
        ({"gross_leverage": 0.9}, [("gross_leverage",)]),
        ({"max_turnover": 0.0}, [("max_turnover",)]),
        ({"min_weight": 0.3, "max_weight": 0.2}, [("min_weight",)]),
    ],
)
def test_bounds_that_no_weights_keep_are_faults(
    constraints: dict[str, Any], paths: list[tuple[str, ...]]
) -> None:
    assert [fault.loc for fault in ConstraintsSpec.across(constraints)] == paths


@pytest.mark.parametrize(
    ("how", "day", "is_valid"),
    [
        ("monthly", "31", True),
        ("monthly", "end", True),
        ("monthly", "32", False),
        ("monthly", "0", False),
        ("monthly", "friday", False),
        ("weekly", "Friday", True),
        ("weekly", "sunday", False),
        ("daily", "friday", False),
        ("daily", "", True),
    ],
)
def test_a_rebalancing_day_fits_its_frequency(how: str, day: str, is_valid: bool) -> None:
    faults = day_faults({"rebalance": how, "rebalance_day": day}, "rebalance", "rebalance_day")
    assert (list(faults) == []) is is_valid
