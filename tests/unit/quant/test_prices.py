"""What a usable price is: the same for arrays and for frames."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from prefect_instances.libs.quant.prices import (
    is_price_field,
    usable,
    usable_price,
    usable_prices,
)

CASES = {
    "a price": (12.5, True),
    "a small price": (5e-324, True),
    "NaN": (math.nan, False),
    "infinity": (math.inf, False),
    "minus infinity": (-math.inf, False),
    "zero": (0.0, False),
    "minus zero": (-0.0, False),
    "negative": (-3.0, False),
}


@pytest.mark.parametrize(("price", "is_one"), CASES.values(), ids=CASES)
def test_arrays_and_frames_agree_on_what_is_usable(price: float, is_one: bool) -> None:
    array = np.array([[price]])
    column = pl.DataFrame({"close": [price]}).select(usable_price(pl.col("close")))

    assert usable(array).tolist() == [[is_one]]
    assert np.isnan(usable_prices(array)[0, 0]) == (not is_one)
    assert column["close"].to_list() == ([price] if is_one else [None])


def test_whole_numbers_are_prices_too() -> None:
    frame = pl.DataFrame({"close": [3, 0, None, -1]})

    assert frame.select(usable_price(pl.col("close")))["close"].to_list() == [3, None, None, None]


def test_prices_are_known_by_the_name_of_their_column() -> None:
    names = ["Close", "volume", "Adj Close", "value", "vwap", "return"]

    assert list(filter(is_price_field, names)) == ["Close", "Adj Close", "vwap"]
    assert not is_price_field("closed")
