"""Portfolio optimizers: they compute weights from expected returns and a covariance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_WEIGHT, MAX_WEIGHT = "min_weight", "max_weight"
SECTOR_LIMITS, GROSS_LEVERAGE, MAX_TURNOVER = "sector_limits", "gross_leverage", "max_turnover"
ALL_CONSTRAINTS = frozenset({MIN_WEIGHT, MAX_WEIGHT, SECTOR_LIMITS, GROSS_LEVERAGE, MAX_TURNOVER})


ROUNDING = 1e-9
"""By how much a sum of weights may miss 1."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """Constraints on the weights, which sum to 1. None and empty mean: no limit.

    ``min_weight`` below 0 allows short positions. ``sectors`` gives the symbols of each sector and
    ``sector_limits`` the lowest and highest sum of its weights. ``gross_leverage`` bounds the sum
    of absolute weights, ``max_turnover`` the sum of absolute changes from the previous weights.
    """

    min_weight: float | None = None
    max_weight: float | None = None
    sectors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sector_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gross_leverage: float | None = None
    max_turnover: float | None = None

    def used(self) -> frozenset[str]:
        """Return the names of the constraints that set a limit."""
        values = {name: getattr(self, name) for name in ALL_CONSTRAINTS}
        return frozenset(name for name, value in values.items() if value not in (None, {}))


def list_infeasible(constraints: Constraints, symbols: Sequence[str]) -> list[Problem]:
    """Return the bounds that no weights of these assets can keep, as the weights sum to 1.

    Overlapping sectors are not judged. A bound that is None does not apply, but a weight is at
    least 0 without ``min_weight``.
    """
    low, high = constraints.min_weight or 0.0, constraints.max_weight
    problems, count = [], len(symbols)
    if high is not None and count * high < 1 - ROUNDING:
        text = f"{high:g} on {count} assets cannot sum to 1; it must be at least {1 / count:.4g}"
        problems.append(Problem(f"constraints.{MAX_WEIGHT}", text))
    if low > 0 and count * low > 1 + ROUNDING:
        text = f"{low:g} on {count} assets sums to more than 1; it must be at most {1 / count:.4g}"
        problems.append(Problem(f"constraints.{MIN_WEIGHT}", text))
    if not problems and low >= 0:
        problems += _infeasible_sectors(constraints, symbols)
    return problems


def _infeasible_sectors(constraints: Constraints, symbols: Sequence[str]) -> list[Problem]:
    """Compare the lowest and the highest sum of all weights, of assets that are not negative."""
    members = {name: {*held} & {*symbols} for name, held in constraints.sectors.items()}
    grouped = [symbol for held in members.values() for symbol in held]
    if len(grouped) != len({*grouped}):
        return []
    low, high = constraints.min_weight or 0.0, constraints.max_weight
    high = 1.0 if high is None else high
    lowest, highest = [], []
    for name, held in members.items():
        least, most = constraints.sector_limits[name]
        lowest.append(max(least, len(held) * low))
        highest.append(min(most, len(held) * high))
    rest = len({*symbols} - {*grouped})
    path = f"constraints.{SECTOR_LIMITS}"
    if (most := sum(highest) + rest * high) < 1 - ROUNDING:
        return [Problem(path, f"allow a sum of {most:.4g} at most; the weights sum to 1")]
    if (least := sum(lowest) + rest * low) > 1 + ROUNDING:
        return [Problem(path, f"demand a sum of {least:.4g} at least; the weights sum to 1")]
    return []


@dataclass(frozen=True, slots=True)
class Moments:
    """Input of an optimizer on one date; all arrays have the assets in the same order.

    ``returns``: observations x assets, simple daily returns up to that date; ``expected`` and
    ``covariance``: daily, per asset and asset x asset; ``expected`` is None without signals.
    ``previous``: the weights held before, None at the start. Held assets that are not among
    ``symbols`` must be sold, so ``previous`` may sum to less than 1.
    """

    symbols: tuple[str, ...]
    returns: NDArray[np.float64]
    covariance: NDArray[np.float64]
    expected: NDArray[np.float64] | None = None
    previous: NDArray[np.float64] | None = None


class PortfolioOptimizer(Definition):
    """Base of the definitions that compute portfolio weights."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.OPTIMIZER
    honours: ClassVar[frozenset[str]] = frozenset()
    """Supported constraints; an instance that sets another one is rejected."""

    needs_signal: ClassVar[bool] = False
    """Whether it requires expected returns."""

    own_bounds: ClassVar[Constraints] = Constraints(min_weight=0.0, max_weight=1.0)
    """What it keeps where an instance sets no limit; override it if it shorts by itself."""

    def keeps(self, constraints: Constraints) -> Constraints:
        """Return the bounds that the weights keep: those of an instance, else its own.

        Weights that are not negative and sum to 1 have a gross leverage of 1, and are at most 1.
        """
        own = self.own_bounds
        low = own.min_weight if constraints.min_weight is None else constraints.min_weight
        high = own.max_weight if constraints.max_weight is None else constraints.max_weight
        gross = constraints.gross_leverage or own.gross_leverage
        if low is not None and low >= 0:
            high, gross = min(1.0, 1.0 if high is None else high), 1.0
        return replace(constraints, min_weight=low, max_weight=high, gross_leverage=gross)

    def check(self, constraints: Constraints) -> list[Problem]:
        """Return the unsupported constraints; when you override it, add to this result."""
        return [
            Problem(
                f"constraints.{name}",
                f"{self.name} cannot honour it; it honours "
                f"{', '.join(sorted(self.honours)) or 'none'}",
            )
            for name in sorted(constraints.used() - self.honours)
        ]

    @abstractmethod
    def optimize(self, moments: Moments, constraints: Constraints) -> NDArray[np.float64]:
        """Return the weight of each asset, in the order of ``moments.symbols``; they sum to 1.

        Raises ``DataRejected`` if no weights satisfy the constraints.
        """
