"""Judge the Sharpe ratio of a backtest by the number of trials on the same prices.

A trial is a configuration of an experiment, a model or a backtest that completed a run and reads,
directly or through others, the prices of this backtest. A run that tried several points (a sweep)
counts each of them. Runs of the same configuration count once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import numpy as np
import polars as pl
from sqlalchemy.orm import Session

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.repositories.flows import select_flow
from prefect_instances.libs.db.repositories.region import select_descendants
from prefect_instances.libs.db.repositories.trials import TrialRun, select_trial_runs
from prefect_instances.libs.db.repositories.versions import select_current_output
from prefect_instances.libs.quant.backtest import Floats
from prefect_instances.libs.quant.measures import returns_of
from prefect_instances.libs.quant.significance import (
    deflated_sharpe,
    minimum_track_record,
    overfitting_probability,
    probabilistic_sharpe,
)
from prefect_instances.libs.services.composition.components import open_version
from prefect_instances.libs.services.procedures.panels import get_input
from prefect_instances.libs.services.runs.run_context import Job

POINTS = "points"
"""Metric of a run with the number of configurations that it tried."""

PORTFOLIO = "PORTFOLIO"
"""Symbol of a backtest's own rows in its output."""


JUDGED = frozenset(
    {
        "trials",
        "sharpe_probability",
        "deflated_sharpe",
        "minimum_track_record",
        "overfitting_probability",
    }
)
"""Measures that `judge_sharpe` computes."""


@dataclass(frozen=True, slots=True)
class Trials:
    """The trials that used the same prices as one backtest, itself included.

    ``count`` is their number. ``sharpes`` are the Sharpe ratios per bar of those that are
    backtests. ``backtests`` are the ids of the other backtest instances among them.
    """

    count: int
    sharpes: tuple[float, ...]
    backtests: tuple[UUID, ...]


def judge_sharpe(job: Job, dates: tuple[date, ...], equity: Floats) -> dict[str, float]:
    """Compute what the number of trials leaves of the Sharpe ratio; leave out undefined measures.

    ``equity``: one value for each of ``dates``.
    """
    returns = returns_of(equity)
    with job.services.database.read() as session:
        trials = _read_trials(session, job)
        others = [_read_equity(job, session, one, dates) for one in trials.backtests]
    matrix = np.stack([equity, *(one for one in others if one is not None)], axis=1)
    found = {
        "trials": float(trials.count),
        "sharpe_probability": probabilistic_sharpe(returns),
        "deflated_sharpe": deflated_sharpe(returns, trials.count, trials.sharpes),
        "minimum_track_record": minimum_track_record(returns),
        "overfitting_probability": overfitting_probability(returns_of(matrix)),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def describe_trials(found: Mapping[str, float]) -> str:
    """Describe in Markdown how far the Sharpe ratio can be trusted; empty without a measure."""
    told = (
        ("trials", "{:,.0f} trials on these prices: configurations of experiments, models and "
         "backtests."),
        ("sharpe_probability", "{:.1%} probability that the true Sharpe ratio is above 0 "
         "(probabilistic Sharpe ratio)."),
        ("deflated_sharpe", "{:.1%} probability that it is above what the luckiest of as many "
         "trials without skill shows (deflated Sharpe ratio). Below 95% is not significant."),
        ("minimum_track_record", "{:,.0f} bars are needed to be 95% sure that it is above 0."),
        ("overfitting_probability", "{:.1%} probability of backtest overfitting among the "
         "backtests on the same bars."),
    )  # fmt: skip
    lines = [f"- {text.format(found[name])}" for name, text in told if name in found]
    return "\n".join(["### How far the Sharpe ratio can be trusted", "", *lines]) if lines else ""


def count_trials(runs: Iterable[TrialRun], instance_id: UUID, config_version: int) -> Trials:
    """Count the trials among runs; the configuration that runs now is one of them.

    Of several runs of a configuration the last one counts.
    """
    last: dict[tuple[UUID, str, int], TrialRun] = {
        (run.instance_id, run.kind, run.config_version): run for run in runs
    }
    own = (instance_id, FlowKind.BACKTEST, config_version)
    last.pop(own, None)
    points = [max(1, int(run.metrics.get(POINTS, 1))) for run in last.values()]
    tested = [run for run in last.values() if run.kind == FlowKind.BACKTEST]
    sharpes = [_per_bar(run.metrics) for run in tested]
    others = dict.fromkeys(run.instance_id for run in tested if run.instance_id != instance_id)
    known = tuple(one for one in sharpes if math.isfinite(one))
    return Trials(1 + sum(points), known, tuple(others))


def _per_bar(metrics: Mapping[str, object]) -> float:
    """Return the Sharpe ratio per bar from the annual one; NaN if a run has none."""
    annual, bars = metrics.get("sharpe"), metrics.get("bars_per_year")
    if not isinstance(annual, int | float) or not isinstance(bars, int | float) or bars <= 0:
        return math.nan
    return annual / math.sqrt(bars)


def _read_trials(session: Session, job: Job) -> Trials:
    prices = get_input(job, "prices")
    flow = select_flow(session, prices.instance_id, prices.flow_kind)
    below = select_descendants(session, [flow.id]) if flow else set()
    runs = select_trial_runs(session, below)
    return count_trials(runs, job.instance.id, job.run.config_version)


def _read_equity(
    job: Job, session: Session, instance_id: UUID, dates: tuple[date, ...]
) -> Floats | None:
    """Read the equity of another backtest; None unless it has a value on each of the dates."""
    version = select_current_output(session, instance_id, FlowKind.BACKTEST)
    if version is None:
        return None
    rows = open_version(job.services, session, version).as_known()
    own = rows.filter(pl.col("symbol") == PORTFOLIO).select("date", "equity").collect()
    bars = pl.DataFrame({"date": dates}).join(own, on="date", how="left", maintain_order="left")
    equity = bars["equity"].to_numpy().astype(np.float64)
    return equity if np.isfinite(equity).all() else None
