"""Performance measures of a portfolio, computed by ``empyrical`` if it has them."""

from __future__ import annotations

import math

import numpy as np

from prefect_instances.libs.quant.backtest import EXPIRED, NEVER, Floats, History


def returns_of(equity: Floats) -> Floats:
    """Return the simple return of each bar on the bar before."""
    return np.asarray(equity[1:] / equity[:-1] - 1.0, dtype=np.float64)


def drawdown_of(equity: Floats) -> Floats:
    """Return equity relative to its highest value so far, minus 1 (never positive)."""
    return np.asarray(equity / np.maximum.accumulate(equity) - 1.0, dtype=np.float64)


def measures(
    history: History, bars_per_year: float, benchmark: Floats | None = None
) -> dict[str, float]:
    """Compute performance measures of a portfolio; some only with a benchmark.

    ``bars_per_year``: the actual number of bars in a year, see ``libs.quant.calendar``.
    ``benchmark``: one price per bar. The measures: total return, CAGR (geometric: the first equity
    grows to the last in the time between them), volatility and tracking error (standard deviation
    of returns and of active returns per bar, times the square root of the bars per year), Sharpe
    and Sortino (risk-free rate 0), Calmar (CAGR by maximum drawdown), turnover (half the traded
    value by mean equity, per year), win rate (share of positive among non-zero bars), highest gross
    exposure and lowest cash of any bar, number of orders that waited for a price, of those that
    were never executed and of those that expired, alpha (annualised) and beta of the CAPM
    regression. Undefined measures are left out.
    """
    equity = history.equity
    returns = returns_of(equity)
    found = {"total_return": float(equity[-1] / equity[0] - 1.0)}
    if len(returns) < 2:
        return found
    found |= _annual(returns, bars_per_year)
    found |= {
        "max_drawdown": float(drawdown_of(equity).min()),
        "turnover": _turnover(history, bars_per_year),
        "win_rate": _win_rate(returns),
        "bars_per_year": bars_per_year,
    }
    found |= _traded(history)
    if benchmark is not None:
        found |= _against(returns, benchmark, bars_per_year)
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}


def _annual(returns: Floats, bars_per_year: float) -> dict[str, float]:
    import empyrical

    return {
        "cagr": empyrical.cagr(returns, annualization=bars_per_year),
        "volatility": empyrical.annual_volatility(returns, annualization=bars_per_year),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=bars_per_year),
        "sortino": empyrical.sortino_ratio(returns, annualization=bars_per_year),
        "calmar": empyrical.calmar_ratio(returns, annualization=bars_per_year),
    }


def _traded(history: History) -> dict[str, float]:
    return {
        "trades": float(len(history.trades.bar)),
        "costs": float(history.trades.cost.sum()),
        "max_gross_exposure": float(np.abs(history.weights).sum(axis=1).max()),
        "min_cash": float(history.cash.min()),
        "orders_waited": float(len(history.waiting.due)),
        "orders_never_executed": float((history.waiting.done == NEVER).sum()),
        "orders_expired": float((history.waiting.done == EXPIRED).sum()),
    }


def _against(returns: Floats, benchmark: Floats, bars_per_year: float) -> dict[str, float]:
    import empyrical

    market = returns_of(benchmark)
    alpha, beta = empyrical.alpha_beta(returns, market, annualization=bars_per_year)
    active = float(np.std(returns - market, ddof=1) * math.sqrt(bars_per_year))
    whole = float(benchmark[-1] / benchmark[0] - 1.0)
    return {"benchmark_return": whole, "alpha": alpha, "beta": beta, "tracking_error": active}


def _turnover(history: History, bars_per_year: float) -> float:
    traded = float(np.abs(history.trades.shares * history.trades.price).sum())
    years = (len(history.equity) - 1) / bars_per_year
    return traded / 2 / float(history.equity.mean()) / years


def _win_rate(returns: Floats) -> float:
    moved = returns[returns != 0]
    return float((moved > 0).mean()) if len(moved) else math.nan
