"""The data path: a day appended and a read as of a date beside bare deltalake, and a backtest.

The table holds symbols x ten years of sessions x ten fields.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl

from benchmarks.record import Figure, Run, Target, in_turns, timed

FIELDS = 10
WANTED = 20
REPEATS = 7
APPENDS = 21


def measure(run: Run) -> Iterator[Figure]:
    """Full size: 500 symbols x 2,520 sessions."""
    symbols, sessions = run.pick((50, 252), (500, 2520))
    frame = build_frame(symbols, sessions)
    yield from _storing(run.scratch / "data", frame, symbols)
    yield _backtest(symbols, sessions)
    yield from _columns(run.scratch / "wide", run.pick((100, 300), (100, 1000, 5000)))


def build_frame(symbols: int, sessions: int) -> pl.DataFrame:
    """Random fields for symbols x sessions, ordered by date."""
    days = pl.date_range(date(2010, 1, 1), date(2025, 1, 1), "1d", eager=True)
    days = days.filter(days.dt.weekday() < 6).head(sessions)
    names = pl.Series("symbol", [f"S{n:03d}" for n in range(symbols)])
    keys = days.alias("date").to_frame().join(names.to_frame(), how="cross")
    values = np.random.default_rng(7).standard_normal((keys.height, FIELDS))
    return keys.with_columns(pl.Series(f"f{n}", values[:, n]) for n in range(FIELDS))


def _storing(folder: Path, frame: pl.DataFrame, symbols: int) -> Iterator[Figure]:
    from deltalake import DeltaTable, write_deltalake

    from prefect_instances.libs.definitions.accessor import Query
    from prefect_instances.libs.plugins.delta import DeltaStore
    from prefect_instances.libs.plugins.simple import SimpleAccessor

    newest = frame.get_column("date").max()
    assert isinstance(newest, date)
    base, day = frame.filter(pl.col("date") < newest), frame.filter(pl.col("date") == newest)
    handle = DeltaStore({}).open(folder / "ours")
    bare = folder / "bare"
    at = handle.write(base, uuid4(), None).location
    write_deltalake(bare, base)

    def later(number: int) -> pl.DataFrame:
        return day.with_columns(pl.col("date").dt.offset_by(f"{number}d"))

    days = iter(range(1, 1000))

    def ours() -> None:
        nonlocal at
        at = handle.append(later(next(days)), uuid4(), at).location

    def theirs() -> None:
        write_deltalake(DeltaTable(bare), later(next(days)), mode="append")

    mine, peer = in_turns(ours, theirs, APPENDS)
    yield Figure(
        "data", f"append of one day x {symbols}", 1000 * mine, "ms",
        "bare deltalake", 1000 * peer, Target(1 / 0.7, of_ratio=True),
    )  # fmt: skip
    query = Query(
        as_of=newest, symbols=tuple(f"S{n:03d}" for n in range(0, symbols, symbols // WANTED))
    )
    wanted = pl.col("symbol").is_in(list(query.symbols or ())) & (pl.col("date") <= newest)
    version = int(at.rpartition(".v")[2])

    def read() -> None:
        SimpleAccessor({}).read(handle.scan(at), query).collect()

    def read_bare() -> None:
        pl.scan_delta(bare, version=version).filter(wanted).collect()

    mine, peer = in_turns(read, read_bare, REPEATS)
    yield Figure(
        "data", f"as-of read of {WANTED} of {symbols} symbols", 1000 * mine, "ms",
        "bare polars on Delta", 1000 * peer, Target(1 / 0.7, of_ratio=True),
    )  # fmt: skip


def _columns(folder: Path, counts: tuple[int, ...]) -> Iterator[Figure]:
    """Three rows of more and more columns: read from a file, checked, hashed and stored.

    The cost of a column must not grow with their number: it is compared to that at the smallest.
    """
    folder.mkdir()
    first: float | None = None
    for count in counts:
        seconds = timed(_refresh_of(folder, count), 3)
        each = 1000 * seconds / count
        first = first or each
        yield Figure(
            "data", f"refresh of {count} columns, each", each, "ms",
            f"with {counts[0]} columns", first, Target(1.5, of_ratio=True),
        )  # fmt: skip


def _refresh_of(folder: Path, count: int) -> Callable[[], None]:
    from prefect_instances.libs.definitions.content import check_frame, content_hash, merge
    from prefect_instances.libs.definitions.pipeline import ExtractContext
    from prefect_instances.libs.plugins.file import FilePipeline
    from prefect_instances.libs.plugins.parquet import ParquetStore

    path = folder / f"{count}.csv"
    days = pl.Series("date", [date(2024, 1, day) for day in (2, 3, 4)])
    fields = {f"f{at}": [0.5, 1.5, 2.5] for at in range(count)}
    pl.DataFrame({"date": days, "symbol": ["A"] * 3, **fields}).write_csv(path)
    os.utime(path, (1.6e9, 1.6e9))
    pipeline = FilePipeline({"path": str(path)})
    store = ParquetStore({}).open(folder / str(count))

    def refresh() -> None:
        extract = pipeline.extract(ExtractContext("wide", datetime.now(UTC)), [], None)
        frame = merge(None, extract, None)
        check_frame(frame)
        content_hash(frame)
        store.write(frame, uuid4(), None)

    return refresh


def _backtest(symbols: int, sessions: int) -> Figure:
    """Monthly rebalancing to random long weights, with commission."""
    from prefect_instances.libs.quant.backtest import Costs, simulate

    random = np.random.default_rng(11)
    prices = 100 * np.exp(np.cumsum(0.01 * random.standard_normal((sessions, symbols)), axis=0))
    targets = {bar: random.dirichlet(np.ones(symbols)) for bar in range(0, sessions, 21)}
    seconds = timed(lambda: simulate(prices, targets, 1e6, Costs(commission=0.001)), REPEATS)
    product = timed(lambda: (prices * prices).sum(axis=1), REPEATS)
    return Figure(
        "data", f"backtest of {symbols} assets, {sessions} bars", 1000 * seconds, "ms",
        "one pass of numpy over the prices", 1000 * product, Target(200),
    )  # fmt: skip
