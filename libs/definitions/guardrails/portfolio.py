"""Contracts on portfolios: single weights, their sum, and leverage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import Field

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.definitions.guardrails.contract import (
    Evidence,
    Gate,
    Guardrail,
    Violation,
)

if TYPE_CHECKING:
    import polars as pl

    from prefect_instances.libs.definitions.optimizer import Constraints

WEIGHT, EXPOSURE = "weight", "exposure"

TOLERANCE = 1e-6
"""Tolerance for a solver's numerical error at a bound."""


class _OfPortfolio(Guardrail):
    """Base of the portfolio contracts: judges data to be written, or an optimizer's constraints."""

    gates = (Gate.WRITE, Gate.CREATE)

    def judges(self, evidence: Evidence) -> bool:
        """Return True for the bounds of an optimizer, and for rows of one of ``flows``."""
        if evidence.gate is Gate.CREATE:
            return evidence.bounds is not None
        return super().judges(evidence) and evidence.frame is not None

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        if evidence.bounds is not None:
            holds_cash = evidence.configured.get("without_solution") == "cash"
            return self._bounds(evidence.bounds, 0.0 if holds_cash else 1.0)
        assert evidence.frame is not None
        return self._rows(evidence.frame)

    @abstractmethod
    def _bounds(self, keeps: Constraints, least: float) -> Iterable[Violation]:
        """Yield what the bounds allow and the contract does not.

        The weights of a date sum to 1, or to ``least`` on a date without a solution.
        """

    @abstractmethod
    def _rows(self, frame: pl.DataFrame) -> Iterable[Violation]: ...


class PortfolioWeights(_OfPortfolio):
    """``portfolio.weights``: bounds on each weight and on their sum, on every date.

    At ``instance.create`` it judges the bounds that the optimizer keeps instead.
    """

    name = "portfolio.weights"
    flows = (FlowKind.OPTIMIZE,)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        min_weight: float | None = Field(default=None, description="Lowest weight of an asset.")
        max_weight: float | None = Field(default=None, description="Highest weight of an asset.")
        min_sum: float | None = Field(default=None, description="Lowest sum of the weights.")
        max_sum: float | None = Field(default=None, description="Highest sum of the weights.")
        min_assets: int = Field(default=0, ge=0, description="Fewest assets that are held.")

    config: Config

    def _rows(self, frame: pl.DataFrame) -> Iterable[Violation]:
        if WEIGHT not in frame.columns:
            yield Violation(f"there is no column {WEIGHT}", {"columns": frame.columns})
            return
        yield from self._single(frame)
        yield from self._together(frame)

    def _bounds(self, keeps: Constraints, least: float) -> Iterable[Violation]:
        low, high, asked = keeps.min_weight, keeps.max_weight, self.config
        if asked.min_weight is not None and (low is None or low < asked.min_weight):
            allowed = "of any size" if low is None else f"down to {low:g}"
            yield Violation(f"the optimizer allows weights {allowed}, below {asked.min_weight:g}")
        if asked.max_weight is not None and (high is None or high > asked.max_weight):
            allowed = "of any size" if high is None else f"up to {high:g}"
            yield Violation(f"the optimizer allows weights {allowed}, above {asked.max_weight:g}")
        yield from _sums("the weights of a date sum", least, asked.min_sum, asked.max_sum)

    def _single(self, frame: pl.DataFrame) -> Iterable[Violation]:
        lowest, highest = _extremes(frame, WEIGHT)
        low, high = self.config.min_weight, self.config.max_weight
        if low is not None and lowest < low - TOLERANCE:
            yield Violation(f"a weight of {lowest:.4g} is below {low:g}", {"lowest": lowest})
        if high is not None and highest > high + TOLERANCE:
            yield Violation(f"a weight of {highest:.4g} is above {high:g}", {"highest": highest})

    def _together(self, frame: pl.DataFrame) -> Iterable[Violation]:
        import polars as pl

        days = frame.group_by("date").agg(
            pl.col(WEIGHT).sum().alias("sum"),
            (pl.col(WEIGHT).abs() > TOLERANCE).sum().alias("assets"),
        )
        lowest, highest = _extremes(days, "sum")
        low, high = self.config.min_sum, self.config.max_sum
        if low is not None and lowest < low - TOLERANCE:
            yield Violation(f"the weights of a date sum to {lowest:.4g}, below {low:g}")
        if high is not None and highest > high + TOLERANCE:
            yield Violation(f"the weights of a date sum to {highest:.4g}, above {high:g}")
        fewest = int(_extremes(days, "assets")[0])
        if fewest < self.config.min_assets:
            text = f"only {fewest} assets are held on a date, fewer than {self.config.min_assets}"
            yield Violation(text, {"assets": fewest})


class PortfolioLeverage(_OfPortfolio):
    """``portfolio.leverage``: bounds on gross and net exposure on every date.

    For an optimizer's weights both are judged; for a backtest the net exposure of its actual
    positions. At ``instance.create`` it judges what the bounds that the optimizer keeps
    allow.
    """

    name = "portfolio.leverage"
    flows = (FlowKind.OPTIMIZE, FlowKind.BACKTEST)

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        max_gross: float | None = Field(default=None, gt=0, description="Of absolute weights.")
        min_net: float | None = Field(default=None, description="Lowest sum of weights.")
        max_net: float | None = Field(default=None, description="Highest sum of weights.")

    config: Config

    def _rows(self, frame: pl.DataFrame) -> Iterable[Violation]:
        days = _exposures(frame)
        if days is None:
            yield Violation(
                f"there is no column {WEIGHT} or {EXPOSURE}", {"columns": frame.columns}
            )
            return
        gross, (low, high) = _extremes(days, "gross")[1], _extremes(days, "net")
        asked = self.config
        if asked.max_gross is not None and gross > asked.max_gross + TOLERANCE:
            text = f"gross leverage reaches {gross:.4g}, above {asked.max_gross:g}"
            yield Violation(text, {"gross": gross})
        if asked.max_net is not None and high > asked.max_net + TOLERANCE:
            yield Violation(
                f"net exposure reaches {high:.4g}, above {asked.max_net:g}", {"net": high}
            )
        if asked.min_net is not None and low < asked.min_net - TOLERANCE:
            yield Violation(
                f"net exposure falls to {low:.4g}, below {asked.min_net:g}", {"net": low}
            )

    def _bounds(self, keeps: Constraints, least: float) -> Iterable[Violation]:
        wanted, allowed = self.config.max_gross, keeps.gross_leverage
        if wanted is not None and (allowed is None or allowed > wanted):
            reach = "any gross leverage" if allowed is None else f"a gross leverage of {allowed:g}"
            yield Violation(f"the optimizer allows {reach}, above {wanted:g}")
        yield from _sums("net exposure comes", least, self.config.min_net, self.config.max_net)


def _sums(what: str, least: float, low: float | None, high: float | None) -> Iterable[Violation]:
    """Yield in which way weights that sum to 1, or to ``least``, are out of bounds."""
    if low is not None and least < low:
        yield Violation(f"{what} to {least:g}, below {low:g}")
    if high is not None and high < 1.0:
        yield Violation(f"{what} to 1, above {high:g}")


def _exposures(frame: pl.DataFrame) -> pl.DataFrame | None:
    """Return (date, gross, net) of weights or of a portfolio's exposure; None for other data."""
    import polars as pl

    if WEIGHT in frame.columns:
        weight = pl.col(WEIGHT)
        return frame.group_by("date").agg(
            weight.abs().sum().alias("gross"), weight.sum().alias("net")
        )
    if EXPOSURE not in frame.columns:
        return None
    own = frame.filter(pl.col("symbol") == "PORTFOLIO")
    return own.select("date", pl.col(EXPOSURE).abs().alias("gross"), pl.col(EXPOSURE).alias("net"))


def _extremes(frame: pl.DataFrame, column: str) -> tuple[float, float]:
    """Return the lowest and highest value of a column; zeros if it is empty."""
    import polars as pl

    found = frame.select(pl.col(column).min().alias("low"), pl.col(column).max().alias("high")).row(
        0
    )
    return float(found[0] or 0.0), float(found[1] or 0.0)
