"""The backtest loop: turns target weights into trades, cash and equity.

A decision made on the close of one bar is executed at the close of the next bar. An order without a
usable price on its bar waits for the next bar that has one. Holdings are constant between
executions, so their value is one matrix product.
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
"""Fraction of the portfolio's value below which missing cash counts as a rounding error."""

NEGLIGIBLE = 1e-9
"""Fraction of the portfolio's value that is too small to trade: if only that much is free, nothing
is bought, and a holding that exceeds its share by that much does not reduce the other targets."""

NEVER = -1
"""The bar number of an order that the next decision or the end came before."""

EXPIRED = -2
"""The bar number of an order that expired."""


class Unpayable(ValueError):
    """Trades cost more than the portfolio is worth: lower the costs or the leverage.

    ``bar`` is the bar of the execution.
    """

    def __init__(self, bar: int) -> None:
        super().__init__(f"the trades of bar {bar} cost more than the portfolio is worth")
        self.bar = bar


class Slippage(StrEnum):
    """How the price moves against a trade; ``size`` is the trade as a fraction of the portfolio.

    fixed: ``rate``; linear: ``rate * size``; sqrt: ``rate * sqrt(size)``, the square-root law of
    market impact (Almgren, Thum, Hauptmann and Li, 2005), with the portfolio instead of the volume,
    which daily closes do not contain.
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
    """Trading costs: ``commission`` and ``rate`` are fractions of the traded value."""

    commission: float = 0.0
    slippage: Slippage = Slippage.NONE
    rate: float = 0.0

    def of(self, traded: Floats, value: float) -> Floats:
        """Return the cost of trades of absolute value ``traded`` in a portfolio worth ``value``."""
        size = traded / value if value > 0 else np.zeros_like(traded)
        impact = self.rate * _IMPACT[self.slippage](size)
        return np.asarray(traded * (self.commission + impact), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Trades:
    """One entry for each trade: bar of execution, asset, shares (signed), price and cost."""

    bar: Whole
    asset: Whole
    shares: Floats
    price: Floats
    cost: Floats


@dataclass(frozen=True, slots=True)
class WaitingOrders:
    """One entry for each order without a price on its bar ``due``.

    ``done`` is the bar of its execution; ``NEVER`` if the next decision or the end came first,
    ``EXPIRED`` if it expired before that.
    """

    due: Whole
    asset: Whole
    done: Whole


@dataclass(frozen=True, slots=True)
class History:
    """The result of a backtest: ``equity`` and ``cash`` per bar, ``weights`` (bars x assets)."""

    equity: Floats
    cash: Floats
    weights: Floats
    trades: Trades
    waiting: WaitingOrders


@dataclass(frozen=True, slots=True)
class _Market:
    """Last known price of each bar and asset, whether it belongs to that bar, and the costs."""

    known: Floats
    priced: Bools
    costs: Costs


@dataclass(slots=True)
class _Book:
    """The state of the portfolio and its records: one entry for each execution."""

    cash: float
    shares: Floats
    bars: list[int] = field(default_factory=list)
    cashes: list[float] = field(default_factory=list)
    holdings: list[Floats] = field(default_factory=list)
    deltas: list[Floats] = field(default_factory=list)
    costs: list[Floats] = field(default_factory=list)
    waited: list[tuple[int, Whole, Whole]] = field(default_factory=list)


def simulate(
    prices: Floats,
    targets: Mapping[int, Floats],
    capital: float,
    costs: Costs,
    expiry: int | None = None,
) -> History:
    """Trade the target weights of each decision bar and return the portfolio's history.

    ``prices``: bars x assets; an unusable price (see ``libs.quant.prices``) counts as missing. A
    holding without a price keeps its last one. ``targets``: decision bar -> weights of the whole
    portfolio, one per asset; NaN counts as 0. What the weights leave of 1 stays in cash, which
    earns nothing. A decision on the last bar is never executed. ``expiry``: number of bars that an
    order waits for a price after its own; None: until the next decision. Raises ``Unpayable``.

    An asset that cannot be traded on a bar keeps its value: the other targets share what is free,
    purchases are paid from cash, and an order without a price waits until the next decision.
    Targets that were reduced because a holding could not be sold are completed once it is sold.
    """
    bars, count = prices.shape
    priced = usable(prices)
    market = _Market(_filled(prices, priced), priced, costs)
    book = _Book(capital, np.zeros(count))
    decided = sorted(bar for bar in targets if 0 <= bar < bars - 1)
    for decision, following in pairwise([*decided, bars - 1]):
        target = np.nan_to_num(targets[decision], posinf=0.0, neginf=0.0)
        _carry_out(book, market, target, range(decision + 1, following + 1), expiry)
    return _history(book, market, capital)


def _filled(prices: Floats, priced: Bools) -> Floats:
    """Fill each missing price with the last one before it; 0 before the first."""
    bars = np.arange(len(prices))[:, None]
    last = np.maximum.accumulate(np.where(priced, bars, 0), axis=0)
    return np.take_along_axis(np.where(priced, prices, 0.0), last, axis=0)


def _carry_out(
    book: _Book, market: _Market, target: Floats, bars: range, expiry: int | None
) -> None:
    """Execute one decision on the first of its bars, and waiting orders on the others."""
    priced, begin = market.priced, bars.start
    open_bars = bars if expiry is None else bars[: expiry + 1]
    waits = ((target != 0) | (book.shares != 0)) & ~priced[begin]
    orders = np.nonzero(waits)[0]
    done = np.full(len(target), NEVER if len(open_bars) == len(bars) else EXPIRED)
    is_cut = _execute(book, market, begin, target, priced[begin])
    for bar in (
        _arrivals(priced[begin + 1 : open_bars.stop, orders], begin + 1) if len(orders) else ()
    ):
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
    """Return the bars on which an order meets its first price; ``priced``: bars x orders."""
    first = {int(np.argmax(of_one)) for of_one in priced.T if of_one.any()}
    return [begin + at for at in sorted(first)]


def _execute(book: _Book, market: _Market, bar: int, target: Floats, tradable: Bools) -> bool:
    """Trade the ``tradable`` assets to their targets; return True if money was too short."""
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
    """The part of a portfolio of ``value`` that the targets are fractions of.

    ``limit`` is the intended gross exposure, ``kept`` the gross value of what is not traded now,
    ``reserved`` the part of ``limit`` that is intended for it.
    """

    value: float
    limit: float
    kept: float
    reserved: float

    def left(self, paid: float) -> float:
        """Return the value that the targets share once ``paid`` is spent on costs."""
        whole = self.value - paid
        if not self.kept or self.limit <= self.reserved:
            return whole
        free = self.limit * whole - self.kept
        if free <= NEGLIGIBLE * self.value:
            return 0.0
        return min(whole, free / (self.limit - self.reserved))

    @property
    def is_short(self) -> bool:
        """True if what is not traded now takes more than was reserved for it."""
        return self.kept > (self.reserved + NEGLIGIBLE) * self.value


def _room(value: float, kept: Floats, target: Floats, tradable: Bools) -> _Room:
    gross = np.abs(target)
    limit = max(1.0, float(gross.sum()))
    reserved = float(gross[~tradable].sum())
    return _Room(value, limit, float(np.abs(kept).sum()), reserved)


def _paid(excess: Callable[[float], float], value: float, bar: int) -> float:
    """Return the costs that exactly match the trades which remain after paying them."""
    if value <= 0 or excess(0.0) <= 0:
        return 0.0
    if excess(value) > 0:
        raise Unpayable(bar)
    return _root(excess, value)


def _root(of: Callable[[float], float], top: float) -> float:
    """Find where a function that is positive at 0 and not at ``top`` crosses 0."""
    from scipy.optimize import brentq

    return float(brentq(of, 0.0, top, xtol=1e-16 * top, maxiter=1000))


def _affordable(moved: Floats, cash: float, value: float, costs: Costs) -> Floats:
    """Scale all purchases by one factor so that the cash pays for them.

    ``moved``: value bought of each asset, negative if sold. Returned unchanged if the cash is
    enough.
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
    """Build equity, cash and weights of every bar from those of the executions."""
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


def _waiting(book: _Book) -> WaitingOrders:
    none: Whole = np.empty(0, dtype=np.int64)
    return WaitingOrders(
        np.repeat(
            np.array([due for due, _, _ in book.waited], dtype=np.int64),
            [len(assets) for _, assets, _ in book.waited],
        ),
        np.concatenate([none, *(assets for _, assets, _ in book.waited)]),
        np.concatenate([none, *(done for _, _, done in book.waited)]),
    )
