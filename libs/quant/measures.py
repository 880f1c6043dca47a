"""How well a portfolio did, by the measures of ``empyrical`` where it has them."""

from __future__ import annotations

import math

import numpy as np

from prefect_instances.libs.quant.backtest import Floats, History

YEAR = 252
"""Bars a year."""


def returns_of(equity: Floats) -> Floats:
    """Simple return of each bar on the one before."""
    return np.asarray(equity[1:] / equity[:-1] - 1.0, dtype=np.float64)


def drawdown_of(equity: Floats) -> Floats:
    """Equity relative to its highest value so far, minus 1: never positive."""
    return np.asarray(equity / np.maximum.accumulate(equity) - 1.0, dtype=np.float64)


def measures(history: History, benchmark: Floats | None = None) -> dict[str, float]:
    """Measures of daily bars; those against a benchmark only where there is one.

    ``benchmark``: a price per bar. Total return, CAGR (geometric, 252 bars a year), volatility and
    tracking error (standard deviation of daily and of active returns times sqrt(252)), Sharpe and
    Sortino (risk-free rate 0), Calmar (CAGR by maximum drawdown), turnover (half the traded value
    by mean equity, a year), win rate (share of positive among non-zero days), alpha (annualised)
    and beta of the CAPM regression. What is not defined is left out.
    """
    import empyrical

    equity = history.equity
    returns = returns_of(equity)
    if len(returns) < 2:
        return {"total_return": float(equity[-1] / equity[0] - 1.0)}
    found = {
        "total_return": float(equity[-1] / equity[0] - 1.0),
        "cagr": empyrical.cagr(returns, annualization=YEAR),
        "volatility": empyrical.annual_volatility(returns, annualization=YEAR),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=YEAR),
        "sortino": empyrical.sortino_ratio(returns, annualization=YEAR),
        "calmar": empyrical.calmar_ratio(returns, annualization=YEAR),
        "max_drawdown": float(drawdown_of(equity).min()),
        "turnover": _turnover(history),
        "win_rate": _win_rate(returns),
        "trades": float(len(history.trades.bar)),
        "costs": float(history.trades.cost.sum()),
    }
    if benchmark is not None:
        market = returns_of(benchmark)
        alpha, beta = empyrical.alpha_beta(returns, market, annualization=YEAR)
        found["benchmark_return"] = float(benchmark[-1] / benchmark[0] - 1.0)
        found |= {"alpha": alpha, "beta": beta}
        found["tracking_error"] = float(np.std(returns - market, ddof=1) * math.sqrt(YEAR))
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}


def _turnover(history: History) -> float:
    traded = float(np.abs(history.trades.shares * history.trades.price).sum())
    years = len(history.equity) / YEAR
    return traded / 2 / float(history.equity.mean()) / years


def _win_rate(returns: Floats) -> float:
    moved = returns[returns != 0]
    return float((moved > 0).mean()) if len(moved) else math.nan
