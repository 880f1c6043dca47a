"""The backtest loop: target weights to trades, cash and equity, exact to the last cent.

A decision taken on the close of one bar is executed on the close of the next, at that bar's price.
Between executions the holdings are constant, so their value is one matrix product a segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1e-12
"""Relative change of the invested value at which its fixed point counts as found."""

MAX_STEPS = 200


class Slippage(StrEnum):
    """How the price moves against a trade; ``size`` is the trade as a fraction of the portfolio.

    fixed: ``rate``; linear: ``rate * size``; sqrt: ``rate * sqrt(size)``, the square-root law of
    market impact (Almgren, Thum, Hauptmann and Li, 2005) with the portfolio in place of the
    volume, which daily closes do not tell.
    """

    NONE = "none"
    FIXED = "fixed"
    LINEAR = "linear"
    SQRT = "sqrt"


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs: ``commission`` and ``rate`` are fractions of the traded value."""

    commission: float = 0.0
    slippage: Slippage = Slippage.NONE
    rate: float = 0.0

    def of(self, traded: Floats, value: float) -> Floats:
        """Cost of each trade of absolute value ``traded`` in a portfolio worth ``value``."""
        size = traded / value if value > 0 else np.zeros_like(traded)
        impact: Mapping[Slippage, Any] = {
            Slippage.NONE: 0.0,
            Slippage.FIXED: self.rate,
            Slippage.LINEAR: self.rate * size,
            Slippage.SQRT: self.rate * np.sqrt(size),
        }
        return np.asarray(traded * (self.commission + impact[self.slippage]), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Trades:
    """One entry a trade: the bar of execution, the asset, shares (signed), price and cost."""

    bar: NDArray[np.int64]
    asset: NDArray[np.int64]
    shares: Floats
    price: Floats
    cost: Floats


@dataclass(frozen=True, slots=True)
class History:
    """What came of it: per bar ``equity``, ``cash`` and ``weights`` (bars x assets)."""

    equity: Floats
    cash: Floats
    weights: Floats
    trades: Trades


@dataclass(slots=True)
class _Book:
    """The state of the portfolio and what it recorded."""

    cash: float
    shares: Floats
    bars: list[NDArray[np.int64]]
    assets: list[NDArray[np.int64]]
    deltas: list[Floats]
    prices: list[Floats]
    costs: list[Floats]


def simulate(
    prices: Floats, targets: Mapping[int, Floats], capital: float, costs: Costs
) -> History:
    """Run the target weights of each decision bar through the market.

    ``prices``: bars x assets, NaN where an asset has no price; a holding without a price keeps its
    last one and cannot be traded. ``targets``: decision bar -> weights (assets); what they leave of
    1 stays in cash, which earns nothing. A decision on the last bar is never executed.
    """
    bars, count = prices.shape
    known = _filled(prices)
    book = _Book(capital, np.zeros(count), [], [], [], [], [])
    equity, cash = np.empty(bars), np.empty(bars)
    holdings = np.zeros((bars, count))
    executions = sorted((bar + 1, bar) for bar in targets if 0 <= bar < bars - 1)
    at = 0
    for bar, decision in [*executions, (bars, -1)]:
        holdings[at:bar] = book.shares
        cash[at:bar] = book.cash
        at = bar
        if decision >= 0:
            _execute(book, bar, known[bar], np.isfinite(prices[bar]), targets[decision], costs)
    values = holdings * known
    equity = cash + values.sum(axis=1)
    weights = np.divide(
        values, equity[:, None], out=np.zeros_like(values), where=equity[:, None] != 0
    )
    return History(equity, cash, weights, _trades(book))


def _filled(prices: Floats) -> Floats:
    """Each price, or the last one before it; 0 before the first."""
    filled = prices.copy()
    for bar in range(1, len(filled)):
        missing = np.isnan(filled[bar])
        filled[bar, missing] = filled[bar - 1, missing]
    return np.nan_to_num(filled, nan=0.0)


def _execute(
    book: _Book,
    bar: int,
    price: Floats,
    tradable: NDArray[np.bool_],
    target: Floats,
    costs: Costs,
) -> None:
    """Trade to the target weights of what is left after paying for the trades."""
    value = book.cash + float(book.shares @ price)
    wanted = np.where(tradable & np.isfinite(target), target, 0.0)
    frozen = np.where(tradable, 0.0, book.shares)
    invested = value
    for _ in range(MAX_STEPS):
        shares = frozen + _shares(wanted * invested, price, tradable)
        cost = costs.of(np.abs(shares - book.shares) * price, value)
        left = value - float(cost.sum())
        if abs(left - invested) <= TOLERANCE * max(abs(value), 1.0):
            break
        invested = left
    delta = shares - book.shares
    moved = np.nonzero(delta)[0]
    book.cash = value - float(cost.sum()) - float(shares @ price)
    book.shares = shares
    book.bars.append(np.full(len(moved), bar))
    book.assets.append(moved)
    book.deltas.append(delta[moved])
    book.prices.append(price[moved])
    book.costs.append(cost[moved])


def _shares(value: Floats, price: Floats, tradable: NDArray[np.bool_]) -> Floats:
    return np.divide(value, price, out=np.zeros_like(value), where=tradable & (price > 0))


def _trades(book: _Book) -> Trades:
    def joined(parts: list[Any], kind: type[Any]) -> Any:
        return np.concatenate(parts) if parts else np.empty(0, dtype=kind)

    return Trades(
        joined(book.bars, np.int64),
        joined(book.assets, np.int64),
        joined(book.deltas, np.float64),
        joined(book.prices, np.float64),
        joined(book.costs, np.float64),
    )
