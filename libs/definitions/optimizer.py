"""Portfolio optimizers: from expected returns and a covariance to weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_WEIGHT, MAX_WEIGHT = "min_weight", "max_weight"
SECTOR_LIMITS, GROSS_LEVERAGE, MAX_TURNOVER = "sector_limits", "gross_leverage", "max_turnover"
ALL_CONSTRAINTS = frozenset({MIN_WEIGHT, MAX_WEIGHT, SECTOR_LIMITS, GROSS_LEVERAGE, MAX_TURNOVER})


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the weights satisfy; they sum to 1. None and empty mean: not limited.

    ``min_weight`` below 0 allows short positions. ``sectors`` gives the symbols of each sector and
    ``sector_limits`` the lowest and highest sum of its weights. ``gross_leverage`` bounds the sum
    of absolute weights, ``max_turnover`` that of absolute changes from the previous weights.
    """

    min_weight: float | None = None
    max_weight: float | None = None
    sectors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sector_limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    gross_leverage: float | None = None
    max_turnover: float | None = None

    def used(self) -> frozenset[str]:
        """The names of the constraints that limit something."""
        values = {name: getattr(self, name) for name in ALL_CONSTRAINTS}
        return frozenset(name for name, value in values.items() if value not in (None, {}))


@dataclass(frozen=True, slots=True)
class Moments:
    """What is known on one date, for assets in one order.

    ``returns``: observations x assets, simple daily returns up to that date; ``expected`` and
    ``covariance``: daily, per asset and asset x asset; ``expected`` is None without signals.
    ``previous``: the weights held before, None at the start; what was held and is not among
    ``symbols`` must be sold, so that they sum to less than 1.
    """

    symbols: tuple[str, ...]
    returns: NDArray[np.float64]
    covariance: NDArray[np.float64]
    expected: NDArray[np.float64] | None = None
    previous: NDArray[np.float64] | None = None


class PortfolioOptimizer(Definition):
    """Base of the definitions that decide weights."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.OPTIMIZER
    honours: ClassVar[frozenset[str]] = frozenset()
    """The constraints that it can keep; an instance that asks for another is refused."""

    needs_signal: ClassVar[bool] = False
    """Whether it cannot work without expected returns."""

    def check(self, constraints: Constraints) -> list[Problem]:
        """Constraints that it cannot honour; override it, and add to what this one finds."""
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
        """The weight of each asset, in the order of ``moments.symbols``; they sum to 1.

        Raises ``DataRejected`` where no weights satisfy the constraints.
        """
