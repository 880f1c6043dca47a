"""Gross leverage is of absolute weights: long and short positions do not cancel."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from prefect_instances.libs.definitions.guardrails.portfolio import PortfolioLeverage

DAY = date(2024, 1, 2)
NEUTRAL = pl.DataFrame({"date": [DAY, DAY], "symbol": ["A", "B"], "weight": [1.0, -1.0]})


@pytest.mark.parametrize(
    ("config", "broken"),
    [
        ({"max_gross": 1.9}, ["gross leverage reaches 2, above 1.9"]),
        ({"max_gross": 2.0}, []),
        ({"max_net": 0.5, "min_net": -0.5}, []),
        ({"min_net": 0.1}, ["net exposure falls to 0, below 0.1"]),
    ],
)
def test_leverage_of_a_market_neutral_portfolio(
    config: dict[str, float], broken: list[str]
) -> None:
    contract = PortfolioLeverage(config)

    assert [each.message for each in contract._rows(NEUTRAL)] == broken
