"""The backtest loop: target weights to trades, cash and equity, exact to the last cent.

A decision taken on the close of one bar is executed on the close of the next, at that bar's price.
An order that finds no usable price on its bar waits for the next bar that has one. Between
executions the holdings are constant, so their value is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_instances.libs.quant.prices import usable

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-13
"""Part of the portfolio's value below which missing cash is a matter of rounding."""

NEGLIGIBLE = 1e-9
"""Part of the portfolio's value that nothing is traded for: it buys nothing where it is all that is
free, and a holding that takes so little more than was meant for it cuts nobody short."""

NEVER = -1
"""The bar of what never came."""


class Unpayable(ValueError):
    """Trades cost more than the portfolio is worth: lower the costs or the leverage.

    ``bar`` is that of the execution.
    """

    def __init__(self, bar: int) -> None:
        super().__init__(f"the trades of bar {bar} cost more than the portfolio is worth")
        self.bar = bar


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


_IMPACT: Mapping[Slippage, Callable[[Floats], Any]] = {
    Slippage.NONE: lambda _: 0.0,
    Slippage.FIXED: lambda _: 1.0,
    Slippage.LINEAR: lambda size: size,
    Slippage.SQRT: np.sqrt,
}


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs: ``commission`` and ``rate`` are fractions of the traded value."""

    commission: float = 0.0
    slippage: Slippage = Slippage.NONE
    rate: float = 0.0

    def of(self, traded: Floats, value: float) -> Floats:
        """Cost of each trade of absolute value ``traded`` in a portfolio worth ``value``."""
        size = traded / value if value > 0 else np.zeros_like(traded)
        impact = self.rate * _IMPACT[self.slippage](size)
        return np.asarray(traded * (self.commission + impact), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Trades:
    """One entry a trade: the bar of execution, the asset, shares (signed), price and cost."""

    bar: Whole
    asset: Whole
    shares: Floats
    price: Floats
    cost: Floats


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry an order that found no price on its bar ``due``; ``done`` is the bar on which it
    was executed, -1 where the next decision or the end came first."""

    due: Whole
    asset: Whole
    done: Whole


@dataclass(frozen=True, slots=True)
class History:
    """What came of it: per bar ``equity``, ``cash`` and ``weights`` (bars x assets)."""

    equity: Floats
    cash: Floats
    weights: Floats
    trades: Trades
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class _Market:
    """The last known price of each bar and asset, whether it is of that bar, and the costs."""

    known: Floats
    priced: Bools
    costs: Costs


@dataclass(slots=True)
class _Book:
    """The state of the portfolio and what it recorded: one entry an execution."""

    cash: float
    shares: Floats
    bars: list[int] = field(default_factory=list)
    cashes: list[float] = field(default_factory=list)
    holdings: list[Floats] = field(default_factory=list)
    deltas: list[Floats] = field(default_factory=list)
    costs: list[Floats] = field(default_factory=list)
    waited: list[tuple[int, Whole, Whole]] = field(default_factory=list)


def simulate(
    prices: Floats, targets: Mapping[int, Floats], capital: float, costs: Costs
) -> History:
    """Run the target weights of each decision bar through the market.

    ``prices``: bars x assets; an unusable price (see ``libs.quant.prices``) is none. A holding
    without a price keeps its last one. ``targets``: decision bar -> the whole portfolio (assets,
    NaN and absence are 0); what it leaves of 1 stays in cash, which earns nothing. A decision on
    the last bar is never executed. Raises ``Unpayable``.

    What cannot be traded on a bar is not spent: the other targets share what is free, purchases
    are paid from cash, and an order without a price waits until the next decision. Where others
    were cut short by a holding that could not be sold, they are completed once it is.
    """
    bars, count = prices.shape
    priced = usable(prices)
    market = _Market(_filled(prices, priced), priced, costs)
    book = _Book(capital, np.zeros(count))
    decided = sorted(bar for bar in targets if 0 <= bar < bars - 1)
    for decision, following in pairwise([*decided, bars - 1]):
        target = np.nan_to_num(targets[decision], posinf=0.0, neginf=0.0)
        _carry_out(book, market, target, decision + 1, following + 1)
    return _history(book, market, capital)


def _filled(prices: Floats, priced: Bools) -> Floats:
    """Each price, or the last one before it; 0 before the first."""
    bars = np.arange(len(prices))[:, None]
    last = np.maximum.accumulate(np.where(priced, bars, 0), axis=0)
    return np.take_along_axis(np.where(priced, prices, 0.0), last, axis=0)


def _carry_out(book: _Book, market: _Market, target: Floats, begin: int, end: int) -> None:
    """Execute one decision on bar ``begin``, and what waits on the bars before ``end``."""
    priced = market.priced
    waits = ((target != 0) | (book.shares != 0)) & ~priced[begin]
    orders = np.nonzero(waits)[0]
    done = np.full(len(target), NEVER)
    is_cut = _execute(book, market, begin, target, priced[begin])
    for bar in _arrivals(priced[begin + 1 : end, orders], begin + 1) if len(orders) else ():
        arrived = waits & priced[bar]
        if is_cut:
            is_cut = _execute(book, market, bar, target, priced[bar])
        else:
            _execute(book, market, bar, target, arrived)
        done[arrived] = bar
        waits &= ~arrived
    if len(orders):
        book.waited.append((begin, orders, done[orders]))


def _arrivals(priced: Bools, begin: int) -> list[int]:
    """The bars on which an order meets its first price; ``priced``: bars x orders."""
    first = {int(np.argmax(of_one)) for of_one in priced.T if of_one.any()}
    return [begin + at for at in sorted(first)]


def _execute(book: _Book, market: _Market, bar: int, target: Floats, tradable: Bools) -> bool:
    """Trade the ``tradable`` assets to their targets; whether they got less for want of money."""
    price = market.known[bar]
    held = book.shares * price
    value = book.cash + float(held.sum())
    room = _room(value, np.where(tradable, 0.0, held), target, tradable)
    wanted = np.where(tradable & (value > 0), target, 0.0)
    start = np.where(tradable, held, 0.0)

    def bought(paid: float) -> Floats:
        return wanted * room.left(paid) - start

    def excess(paid: float) -> float:
        return float(market.costs.of(np.abs(bought(paid)), value).sum()) - paid

    moved = bought(_paid(excess, value, bar))
    floor = -max(0.0, float(target.sum()) - 1.0) * max(value, 0.0)
    limited = _affordable(moved, book.cash - floor, value, market.costs)
    is_cut = limited is not moved or room.is_short
    delta = np.divide(limited, price, out=np.zeros_like(limited), where=tradable & (price > 0))
    delta = np.where(tradable & (limited == -start), -book.shares, delta)
    cost = market.costs.of(np.abs(delta) * price, value)
    book.cash -= float(delta @ price) + float(cost.sum())
    book.shares = book.shares + delta
    _record(book, bar, delta, cost)
    return is_cut


@dataclass(frozen=True, slots=True)
class _Room:
    """How much of a portfolio of ``value`` the targets are fractions of.

    ``limit`` is the gross exposure that is meant, ``kept`` the gross value of what is not traded
    now, ``reserved`` the part of ``limit`` that is meant for it.
    """

    value: float
    limit: float
    kept: float
    reserved: float

    def left(self, paid: float) -> float:
        """The value that the targets share once ``paid`` is spent on costs."""
        whole = self.value - paid
        if not self.kept or self.limit <= self.reserved:
            return whole
        free = self.limit * whole - self.kept
        if free <= NEGLIGIBLE * self.value:
            return 0.0
        return min(whole, free / (self.limit - self.reserved))

    @property
    def is_short(self) -> bool:
        """Whether what is kept takes more than was meant for it."""
        return self.kept > (self.reserved + NEGLIGIBLE) * self.value


def _room(value: float, kept: Floats, target: Floats, tradable: Bools) -> _Room:
    gross = np.abs(target)
    limit = max(1.0, float(gross.sum()))
    reserved = float(gross[~tradable].sum())
    return _Room(value, limit, float(np.abs(kept).sum()), reserved)


def _paid(excess: Callable[[float], float], value: float, bar: int) -> float:
    """The costs that pay for exactly the trades that are left after paying them."""
    if value <= 0 or excess(0.0) <= 0:
        return 0.0
    if excess(value) > 0:
        raise Unpayable(bar)
    return _root(excess, value)


def _root(of: Callable[[float], float], top: float) -> float:
    """Where a function that is above 0 at 0 and not at ``top`` crosses 0, to the last digits."""
    from scipy.optimize import brentq

    return float(brentq(of, 0.0, top, xtol=1e-16 * top, maxiter=1000))


def _affordable(moved: Floats, cash: float, value: float, costs: Costs) -> Floats:
    """The same purchases and sales, the purchases cut by one factor to what the cash pays for.

    ``moved``: value bought of each asset, negative where sold. The argument itself where it fits.
    """

    def left(part: float) -> float:
        cut = np.where(moved > 0, part * moved, moved)
        return cash - float(cut.sum()) - float(costs.of(np.abs(cut), value).sum())

    if left(1.0) >= -ROUNDING * abs(value):
        return moved
    part = _root(left, 1.0) if left(0.0) > NEGLIGIBLE * max(value, 0.0) else 0.0
    return np.where(moved > 0, part * moved, moved)


def _record(book: _Book, bar: int, delta: Floats, cost: Floats) -> None:
    book.bars.append(bar)
    book.cashes.append(book.cash)
    book.holdings.append(book.shares)
    book.deltas.append(delta)
    book.costs.append(cost)


def _history(book: _Book, market: _Market, capital: float) -> History:
    """Equity, cash and weights of every bar, from those of the executions."""
    bars, count = market.known.shape
    lengths = np.diff([0, *book.bars, bars])
    shares = np.repeat(np.array([np.zeros(count), *book.holdings]), lengths, axis=0)
    cash = np.repeat(np.array([capital, *book.cashes]), lengths)
    values = shares * market.known
    equity = cash + values.sum(axis=1)
    whole = equity[:, None]
    weights = np.divide(values, whole, out=np.zeros_like(values), where=whole != 0)
    return History(equity, cash, weights, _trades(book, market), _waiting(book))


def _trades(book: _Book, market: _Market) -> Trades:
    shape = (-1, market.known.shape[1])
    deltas = np.array(book.deltas, dtype=np.float64).reshape(shape)
    costs = np.array(book.costs, dtype=np.float64).reshape(shape)
    at, asset = np.nonzero(deltas)
    bar = np.array(book.bars, dtype=np.int64)[at]
    return Trades(bar, asset, deltas[at, asset], market.known[bar, asset], costs[at, asset])


def _waiting(book: _Book) -> Waiting:
    none: Whole = np.empty(0, dtype=np.int64)
    return Waiting(
        np.repeat(
            np.array([due for due, _, _ in book.waited], dtype=np.int64),
            [len(assets) for _, assets, _ in book.waited],
        ),
        np.concatenate([none, *(assets for _, assets, _ in book.waited)]),
        np.concatenate([none, *(done for _, _, done in book.waited)]),
    )
