"""A second implementation of the backtest's rules: one asset, one bar, one number at a time.

It shares nothing with ``libs.quant.backtest``: no arrays, no fixed point library, no common state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Impact = Callable[[float], float]

IMPACTS: Mapping[str, Impact] = {
    "none": lambda size: 0.0,
    "fixed": lambda size: 1.0,
    "linear": lambda size: size,
    "sqrt": math.sqrt,
}


def bisect(holds: Callable[[float], bool], top: float) -> float:
    """The last number from 0 to ``top`` for which something holds that holds no further on."""
    low, high = 0.0, top
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@dataclass
class PlainLoop:
    """The portfolio and what it did; ``price`` is the last one known of each asset."""

    cash: float
    commission: float
    rate: float
    impact: Impact
    expiry: int | None
    shares: list[float]
    price: list[float]
    equity: list[float] = field(default_factory=list)
    cashes: list[float] = field(default_factory=list)
    waited: list[tuple[int, int, int]] = field(default_factory=list)

    def cost(self, traded: float, value: float) -> float:
        size = abs(traded) / value if value > 0 else 0.0
        return abs(traded) * (self.commission + self.rate * self.impact(size))

    def worth(self) -> float:
        return self.cash + sum(s * p for s, p in zip(self.shares, self.price, strict=True))

    def trade(self, target: Sequence[float], tradable: set[int]) -> bool:
        """Trade some assets to their weights; whether money was short."""
        value = self.worth()
        held = [s * p for s, p in zip(self.shares, self.price, strict=True)]
        stuck = [i for i in range(len(held)) if i not in tradable]
        kept = sum(abs(held[i]) for i in stuck)
        meant = sum(abs(target[i]) for i in stuck)
        limit = max(1.0, sum(abs(w) for w in target))

        def moves(paid: float) -> dict[int, float]:
            base = value - paid
            if kept != 0.0 and meant < limit:
                free = limit * base - kept
                base = min(base, free / (limit - meant)) if free > 1e-9 * value else 0.0
            return {i: (target[i] * base if value > 0 else 0.0) - held[i] for i in tradable}

        def is_too_little(paid: float) -> bool:
            return self.costs(moves(paid), value) > paid

        bought = moves(bisect(is_too_little, max(value, 0.0)))
        least = -max(0.0, sum(target) - 1.0) * max(value, 0.0)
        part = self.affordable(bought, value, self.cash - least)
        for i, moved in bought.items():
            self.move(i, part * moved if moved > 0 else moved, held[i], value)
        return kept - meant * value > 1e-9 * value or part < 1.0

    def costs(self, of: Mapping[int, float], value: float) -> float:
        return sum(self.cost(moved, value) for moved in of.values())

    def affordable(self, bought: Mapping[int, float], value: float, cash: float) -> float:
        """The part of the purchases that the cash pays for."""

        def is_paid(part: float) -> bool:
            cut = {i: part * m if m > 0 else m for i, m in bought.items()}
            return cash - sum(cut.values()) - self.costs(cut, value) > -1e-13 * abs(value)

        if is_paid(1.0):
            return 1.0
        sold = {i: m for i, m in bought.items() if m < 0}
        left = cash - sum(sold.values()) - self.costs(sold, value)
        return bisect(is_paid, 1.0) if left > 1e-9 * max(value, 0.0) else 0.0

    def move(self, i: int, moved: float, held: float, value: float) -> None:
        if moved:
            self.cash -= moved + self.cost(moved, value)
            self.shares[i] = 0.0 if moved == -held else self.shares[i] + moved / self.price[i]

    def run(
        self, prices: Sequence[Sequence[float]], targets: Mapping[int, Sequence[float]]
    ) -> None:
        target: Sequence[float] = ()
        waits: dict[int, int] = {}
        is_cut = False
        for bar, row in enumerate(prices):
            there = {i for i, p in enumerate(row) if math.isfinite(p) and p > 0}
            for i in there:
                self.price[i] = row[i]
            if bar - 1 in targets:
                self.drop(waits)
                target = targets[bar - 1]
                waits = {
                    i: bar
                    for i in range(len(row))
                    if i not in there and (target[i] != 0 or self.shares[i] != 0)
                }
                is_cut = self.trade(target, there)
            elif self.expiry is not None and any(bar > due + self.expiry for due in waits.values()):
                self.drop(waits, -2)
                waits = {}
            elif met := {i for i in waits if i in there}:
                is_short = self.trade(target, there if is_cut else met)
                is_cut = is_cut and is_short
                self.waited += [(waits.pop(i), i, bar) for i in sorted(met)]
            self.equity.append(self.worth())
            self.cashes.append(self.cash)
        self.drop(waits)

    def drop(self, waits: dict[int, int], why: int = -1) -> None:
        self.waited += [(due, i, why) for i, due in waits.items()]
