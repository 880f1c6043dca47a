"""Contracts on data, judged on frames."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.definitions.guardrails import Evidence, Gate, InputFacts
from prefect_instances.libs.definitions.guardrails.data import UsablePrices
from prefect_instances.libs.quant.prices import count_unusable

NOW = datetime(2024, 2, 1, tzinfo=UTC)
BAD = [None, float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0]
FRAME = pl.DataFrame(
    {
        "date": [date(2024, 1, 2)] * 10,
        "symbol": list("ABCDEFGHIJ"),
        "close": [*BAD, 1.0, 2.0, 1e-300],
        "volume": [0.0] * 10,
        "n": list(range(10)),
        "note": ["x"] * 10,
    }
)


def told(frame: pl.DataFrame, **config: Any) -> list[str]:
    evidence = Evidence(Gate.WRITE, "prices", "refresh", NOW, frame=frame)
    return [broken.message for broken in UsablePrices(config).check(evidence)]


def test_each_unusable_price_is_counted_once_and_by_its_kind() -> None:
    kinds = {"missing": 2, "infinite": 2, "zero": 2, "negative": 1}
    assert count_unusable(FRAME.lazy(), ["close", "n"]) == (10, {"close": kinds, "n": {"zero": 1}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {},
            "7 of 10 prices of prices.close are not usable: "
            "2 missing, 2 infinite, 2 zero, 1 negative",
        ),
        (
            {"allow_missing": True},
            "5 of 10 prices of prices.close are not usable: 2 infinite, 2 zero, 1 negative",
        ),
        ({"columns": ["n"]}, "1 of 10 prices of prices.n are not usable: 1 zero"),
        ({"columns": ["note"]}, "prices.note is String, not a number"),
        ({"columns": ["last"]}, "prices has no column last"),
    ],
)
def test_unusable_prices_are_refused(config: dict[str, Any], message: str) -> None:
    assert told(FRAME, **config) == [message]


def test_prices_within_the_tolerance_and_usable_ones_pass() -> None:
    assert told(FRAME, max_share_unusable=0.7) == []
    assert told(FRAME.tail(3)) == []
    assert told(FRAME.drop("close")) == [
        "prices has no column of prices (there are date, symbol, volume, n, note)"
    ]


def test_prices_of_an_upstream_are_judged_before_a_run() -> None:
    facts = [InputFacts("vendor", "prices", frame=FRAME.lazy), InputFacts("other", "signal")]
    evidence = Evidence(Gate.START, "portfolio", "optimize", NOW, inputs=facts)
    (broken,) = UsablePrices({"role": "prices"}).check(evidence)
    assert broken.details == {
        "column": "close",
        "rows": 10,
        "missing": 2,
        "infinite": 2,
        "zero": 2,
        "negative": 1,
    }
