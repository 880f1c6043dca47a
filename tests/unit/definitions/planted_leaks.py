"""Small pipelines that look ahead, each by a mistake that is made, and their honest twins.

Each takes the inputs by name and returns (date, symbol, value). ``signal`` holds decisions: they
count from the next bar on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

Inputs = Mapping[str, pl.DataFrame]
Pipe = Callable[[Inputs], pl.DataFrame]
Matrix = np.ndarray[Any, Any]

close, volume, day = pl.col("close"), pl.col("volume"), pl.col("date")
gain = (close / close.shift(1) - 1).over("symbol")
WEEK, MONTH = day.dt.truncate("1w"), day.dt.truncate("1mo")


def make_inputs() -> dict[str, pl.DataFrame]:
    """Ninety days of eight stocks: two listed late, one delisted early, gaps, revised earnings."""
    rng = np.random.default_rng(7)
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(90)]
    spans = dict.fromkeys("ABCDE", (0, 90)) | {"F": (30, 90), "G": (60, 90), "H": (0, 45)}
    rows = [
        {"date": days[at], "symbol": name, "sector": "xyz"[ord(name) % 3]}
        for name, (first, last) in spans.items()
        for at in range(first, last)
    ]
    count = len(rows)
    walks = {name: 100 * np.exp(rng.normal(0, 0.02, 90).cumsum()) for name in spans}
    prices = pl.DataFrame(rows).with_columns(
        close=pl.Series([walks[row["symbol"]][days.index(row["date"])] for row in rows]),
        volume=pl.Series(rng.integers(1_000, 9_000, count)),
        member=pl.Series(rng.random(count) < 0.7),
        estimate=pl.Series([None if rng.random() < 0.2 else rng.normal() for _ in rows]),
    )
    prices = prices.with_columns(open=close * (1 + pl.Series(rng.normal(0, 0.01, count))))
    keys = prices.select("date", "symbol")
    return {
        "prices": prices,
        "fundamentals": _make_earnings(keys, rng),
        "signal": keys.with_columns(weight=pl.Series(rng.normal(size=count))),
    }


def _make_earnings(keys: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Earnings of each tenth day, known eight hours or 20 days later, and corrected 15 days on."""
    periods = keys.filter(day.dt.day().is_in([10, 20, 30]))
    known = day.cast(pl.Datetime("us", "UTC"))
    late = pl.Series(np.where(rng.random(periods.height) < 0.5, 8, 480))
    first = periods.with_columns(
        earnings=pl.Series(rng.normal(size=periods.height)),
        knowledge_time=known + pl.duration(hours=late),
    )
    again = first.with_columns(
        earnings=pl.col("earnings") + 1,
        knowledge_time=pl.col("knowledge_time") + pl.duration(days=15),
    )
    return pl.concat([first, again])


def of(value: pl.Expr, *by: str | pl.Expr) -> Pipe:
    """A value of the prices, over the rows of each of ``by`` in order of date."""
    grouped = value.over(*by) if by else value

    def pipe(inputs: Inputs) -> pl.DataFrame:
        rows = inputs["prices"].sort("symbol", "date")
        return rows.select("date", "symbol", value=grouped.cast(pl.Float64))

    return pipe


def only(kept: pl.Expr) -> Pipe:
    """The closes of the rows for which a condition holds."""
    return lambda inputs: (
        inputs["prices"].sort("symbol", "date").filter(kept).select("date", "symbol", value=close)
    )


def wide(compute: Callable[[Matrix], Matrix]) -> Pipe:
    """A matrix (dates x the five stocks that are always listed) of daily returns, transformed."""

    def pipe(inputs: Inputs) -> pl.DataFrame:
        rows = inputs["prices"].filter(pl.col("symbol").is_in([*"ABCDE"]))
        table = rows.pivot("symbol", index="date", values="close").sort("date").fill_null(100.0)
        found = compute(np.diff(np.log(table.drop("date").to_numpy()), axis=0))
        parts = [
            pl.DataFrame({"date": table["date"][1:], "symbol": name, "value": found[:, at]})
            for at, name in enumerate(table.columns[1:])
        ]
        return pl.concat(parts)

    return pipe


def decided(value: pl.Expr) -> Pipe:
    """A value of the prices and the weights that were decided on the close of each date."""
    return lambda inputs: (
        inputs["prices"]
        .join(inputs["signal"], on=["date", "symbol"], how="left")
        .sort("symbol", "date")
        .select("date", "symbol", value=value.over("symbol"))
    )


def earnings(compute: Callable[[pl.DataFrame], pl.DataFrame]) -> Pipe:
    return lambda inputs: compute(inputs["fundamentals"]).select(
        "date", "symbol", value=pl.col("earnings")
    )


def _by_key(rows: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    ordered = rows.sort("date", "symbol", "knowledge_time")
    return ordered.group_by("date", "symbol", maintain_order=True).agg(value)


def _as_known(inputs: Inputs) -> pl.DataFrame:
    """The newest earnings that were known at the end of each day."""
    known = (
        inputs["fundamentals"]
        .sort("knowledge_time")
        .with_columns(since=pl.col("knowledge_time").dt.date())
    )
    rows = inputs["prices"].select("date", "symbol").sort("date")
    joined = rows.join_asof(
        known.select("symbol", "earnings", "since"),
        left_on="date",
        right_on="since",
        by="symbol",
        check_sortedness=False,
    )
    return joined.select("date", "symbol", value=pl.col("earnings"))


def _next_earnings(inputs: Inputs) -> pl.DataFrame:
    rows = inputs["prices"].select("date", "symbol").sort("date")
    nearest = inputs["fundamentals"].select("date", "symbol", "earnings").sort("date")
    joined = rows.join_asof(
        nearest, on="date", by="symbol", strategy="forward", check_sortedness=False
    )
    return joined.select("date", "symbol", value=pl.col("earnings"))


def _components(returns: Matrix) -> Matrix:
    axes = np.linalg.svd(returns - returns.mean(axis=0), full_matrices=False)[2]
    return np.abs(returns @ axes[:1].T) @ np.ones((1, returns.shape[1]))


def _regressed(returns: Matrix) -> Matrix:
    """Predictions of an autoregression that was fitted to the whole sample."""
    past, target = returns[:-1], returns[1:]
    fitted = np.linalg.lstsq(past, target, rcond=None)[0]
    return np.asarray(returns @ fitted)


def _detrended(returns: Matrix) -> Matrix:
    at = np.arange(len(returns))
    slope, level = np.polyfit(at, returns, 1)
    return np.asarray(returns - np.outer(at, slope) - level)


def _low_passed(returns: Matrix) -> Matrix:
    found = np.fft.rfft(returns, axis=0)
    found[8:] = 0
    return np.fft.irfft(found, n=len(returns), axis=0)


def _convolved(returns: Matrix) -> Matrix:
    return np.stack([np.convolve(row, np.ones(5) / 5, mode="same") for row in returns.T], axis=1)


def _backtracked(returns: Matrix) -> Matrix:
    """The momentum window that turns out the best one in the whole sample."""
    totals = np.cumsum(returns, axis=0)
    windows = [totals[9:] - totals[9 - n : -n] for n in (2, 5, 9)]
    scores = [np.corrcoef(one[:-1].ravel(), returns[10:].ravel())[0, 1] for one in windows]
    return np.vstack([np.zeros((9, returns.shape[1])), windows[int(np.argmax(scores))]])


def _whitened(returns: Matrix) -> Matrix:
    return np.asarray(returns @ np.linalg.pinv(np.cov(returns.T)))


def _kernel(returns: Matrix) -> Matrix:
    at = np.arange(len(returns))
    weights = np.exp(-np.abs(at[:, None] - at) / 3.0)
    return np.asarray(weights @ returns / weights.sum(axis=1, keepdims=True))


def _shrunk(returns: Matrix) -> Matrix:
    return returns - returns.mean()


def _ranked(returns: Matrix) -> Matrix:
    return returns.ravel().argsort().argsort().reshape(returns.shape).astype(float)


def _trailing(returns: Matrix) -> Matrix:
    ends = range(1, len(returns) + 1)
    return np.stack([returns[max(0, end - 20) : end].mean(axis=0) for end in ends])


def _growing_components(returns: Matrix) -> Matrix:
    found = np.zeros_like(returns)
    for end in range(20, len(returns) + 1):
        found[end - 1] = _components(returns[:end])[-1]
    return found


last_date = day.max()
ahead = close.shift(-5) / close - 1

LEAKS: dict[str, Pipe] = {
    "centred mean": of(close.rolling_mean(5, center=True), "symbol"),
    "centred deviation": of(close.rolling_std(5, center=True), "symbol"),
    "centred median": of(close.rolling_median(7, center=True), "symbol"),
    "shift(-1)": of(close.shift(-1), "symbol"),
    "return that follows": of(ahead, "symbol"),
    "sign of the return that follows": of(ahead.sign(), "symbol"),
    "diff against tomorrow": of(close.diff(-1), "symbol"),
    "highest of the coming days": of(close.reverse().rolling_max(5).reverse(), "symbol"),
    "sum from the end": of(volume.cum_sum(reverse=True), "symbol"),
    "smoothing in both directions": of(
        close.ewm_mean(span=5).reverse().ewm_mean(span=5).reverse(), "symbol"
    ),
    "z-score of the whole sample": of((close - close.mean()) / close.std(), "symbol"),
    "demeaned by the pooled sample": of(close - close.mean()),
    "min-max scaling": of((close - close.min()) / (close.max() - close.min()), "symbol"),
    "share of the highest close ever": of(close / close.max(), "symbol"),
    "rank in the whole sample": of(close.rank(), "symbol"),
    "rank in the pooled sample": of(gain.rank()),
    "clipped at quantiles of the sample": of(close.clip(close.quantile(0.2), close.quantile(0.8))),
    "above the median of the sample": of(close > close.median(), "symbol"),
    "volatility target of the sample": of(gain / gain.std().over("symbol")),
    "high volume by the sample's mean": of(volume > volume.mean(), "symbol"),
    "beta of the whole sample": of(pl.corr(close, volume) * close, "symbol"),
    "place in the sample": of(pl.int_range(pl.len()) / pl.len(), "symbol"),
    "age until delisting": of(day.max() - day, "symbol"),
    "backfill": of(pl.col("estimate").backward_fill(), "symbol"),
    "interpolation": of(pl.col("estimate").interpolate(), "symbol"),
    "gaps filled with the mean": of(pl.col("estimate").fill_null(strategy="mean"), "symbol"),
    "gaps filled with the highest": of(pl.col("estimate").fill_null(strategy="max"), "symbol"),
    "nearest value": of(pl.col("estimate").interpolate_by("volume"), "symbol"),
    "week's close on each of its days": of(close.last(), "symbol", WEEK),
    "month's mean on each of its days": of(close.mean(), "symbol", MONTH),
    "month's high on each of its days": of(close.max(), "symbol", MONTH),
    "today's universe": only(last_date.over("symbol") == last_date),
    "survivors only": only(pl.len().over("symbol") == day.n_unique()),
    "the most traded of the sample": only(
        volume.sum().over("symbol").rank("dense", descending=True) <= 4
    ),
    "winners of the sample": only(close.last().over("symbol") > close.first().over("symbol")),
    "without those that crash": only(
        close.min().over("symbol") > 0.9 * close.first().over("symbol")
    ),
    "re-adjusted prices": of(close / close.last(), "symbol"),
    "share of all stocks ever listed": of(close.rank().over("date") / pl.col("symbol").n_unique()),
    "sector of the last day": of(close.mean().over(pl.col("sector").last().over("symbol"), "date")),
    "future index membership": of(pl.col("member").shift(-5), "symbol"),
    "last index membership": only(pl.col("member").last().over("symbol")),
    "ever a member": of(pl.col("member").cast(pl.Int64).sum(), "symbol"),
    "outcome by sector": of(gain.mean().over("sector")),
    "restated fundamentals": earnings(lambda rows: _by_key(rows, pl.col("earnings").last())),
    "fundamentals dated by their period": earnings(
        lambda rows: _by_key(rows, pl.col("earnings").first())
    ),
    "mean of all revisions": earnings(lambda rows: _by_key(rows, pl.col("earnings").mean())),
    "next report": _next_earnings,
    "principal components of the sample": wide(_components),
    "regression on the whole sample": wide(_regressed),
    "detrended by the sample": wide(_detrended),
    "low-pass filter": wide(_low_passed),
    "centred convolution": wide(_convolved),
    "kernel on both sides": wide(_kernel),
    "parameters chosen by the sample": wide(_backtracked),
    "covariance of the whole sample": wide(_whitened),
    "shrunk to the sample's mean": wide(_shrunk),
    "ranked among all returns": wide(_ranked),
    "same-bar fill": decided(pl.col("weight") * (close / close.shift(1) - 1)),
    "position of the deciding bar": decided(pl.col("weight").cum_sum()),
    "fill at the next open, booked today": decided(
        pl.col("weight").shift(1) * (pl.col("open").shift(-1) / close - 1)
    ),
}
"""Every one must be found."""

HONEST: dict[str, Pipe] = {
    "trailing mean": of(close.rolling_mean(5), "symbol"),
    "trailing deviation": of(close.rolling_std(5), "symbol"),
    "smoothing": of(close.ewm_mean(span=5), "symbol"),
    "return": of(gain),
    "z-score so far": of((close - close.cum_sum() / close.cum_count()) / close.cum_max(), "symbol"),
    "share of the highest close so far": of(close / close.cum_max(), "symbol"),
    "sum so far": of(volume.cum_sum(), "symbol"),
    "forward fill": of(pl.col("estimate").forward_fill(), "symbol"),
    "rank of the day": of(close.rank(), "date"),
    "share of the day's stocks": of(close.rank() / pl.len(), "date"),
    "mean of the day's sector": of(close.mean(), "date", "sector"),
    "members of the day": only(pl.col("member")),
    "week's close so far": of(close.cum_max(), "symbol", WEEK),
    "nothing but gaps": of(pl.lit(float("nan")), "symbol"),
    "fundamentals as known": _as_known,
    "mean of the last returns": wide(_trailing),
    "components of the past": wide(_growing_components),
    "next-bar fill": decided(pl.col("weight").shift(1) * (close / close.shift(1) - 1)),
}
"""None of these may be called a leak."""
