"""What a researcher waits for: importing the package, and reading a frame by name.

The dataset holds symbols x ten years of sessions x ten fields, in a home without a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import polars as pl

from benchmarks.record import Figure, Run, Target, in_turns
from benchmarks.subjects.data import WANTED, build_frame

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from prefect_instances.libs.services.state.context import Services

REPEATS = 9
NAME = "bench/prices"


def measure(run: Run) -> Iterator[Figure]:
    """Full size: 20 of 500 symbols x 2,520 sessions."""
    yield _importing(run)
    symbols, sessions = run.pick((50, 252), (500, 2520))
    yield _reading(run.scratch / "desk", build_frame(symbols, sessions), symbols)


def _importing(run: Run) -> Figure:
    ours, bare = [], []
    for _ in range(run.pick(2, 6)):
        ours.append(_time("import prefect_instances"))
        bare.append(_time("pass"))
    mine, peer = median(ours[1:]), median(bare[1:])
    return Figure("desk", "import prefect_instances", mine, "s", "Python alone", peer, Target(0.5))


def _time(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def _reading(home: Path, frame: pl.DataFrame, symbols: int) -> Figure:
    from prefect_instances import read

    location = _publish(home, frame)
    os.environ["INSTANCES_HOME"] = str(home)
    wanted = [f"S{number:03d}" for number in range(0, symbols, symbols // WANTED)]

    def ours() -> None:
        read(NAME, symbols=wanted).collect()

    def bare() -> None:
        pl.scan_delta(location).filter(pl.col("symbol").is_in(wanted)).collect()

    mine, peer = in_turns(ours, bare, REPEATS)
    del os.environ["INSTANCES_HOME"]
    return Figure(
        "desk", f"read of {WANTED} of {symbols} symbols by name", 1000 * mine, "ms",
        "bare polars on Delta", 1000 * peer, Target(1.4, of_ratio=True),
    )  # fmt: skip


def _publish(home: Path, frame: pl.DataFrame) -> str:
    """Make a home in which a run has published the frame; return the folder of its Delta table."""
    from prefect_instances.libs.core.records import RunParameters
    from prefect_instances.libs.core.status import Cause
    from prefect_instances.libs.db import Database, migrate
    from prefect_instances.libs.services.runs.execution import execute
    from prefect_instances.libs.services.runs.procedures import load_procedure
    from prefect_instances.libs.services.runs.run_context import Work
    from prefect_instances.libs.services.state.ledger import RunWish
    from prefect_instances.libs.settings import load_settings
    from prefect_instances.libs.wiring import connect_to_read

    home.mkdir()
    frame.write_parquet(home / "frame.parquet")
    settings = load_settings(home=home)
    database = Database(settings.database_url)
    migrate(database)
    database.close()
    # Without a server the events stay in the outbox.
    with connect_to_read(settings) as services:
        instance = _write_instance(services, home / "frame.parquet")
        ask = RunWish(Cause.MANUAL, RunParameters())
        execute(
            services, Work(instance, uuid4(), None, ask, kind="refresh"), load_procedure("refresh")
        )
    [log] = home.glob("stores/*/*/_delta_log")
    return str(log.parent)


def _write_instance(services: Services, path: Path) -> UUID:
    from prefect_instances.libs.core.status import Lifecycle
    from prefect_instances.libs.services.composition.checks import examine
    from prefect_instances.libs.services.composition.rows import write_rows
    from prefect_instances.libs.specs import parse_spec

    project, _, name = NAME.partition("/")
    spec = parse_spec(
        {
            "project": project,
            "name": name,
            "type": "DatasetInstance",
            "pipeline": {"definition": "file", "config": {"path": str(path)}},
            "store": {"definition": "delta"},
        }
    )

    def write(session: Session) -> UUID:
        blueprint = examine(session, services.registry, spec, services.now())
        return write_rows(session, blueprint, services.now()).id

    written = services.database.transact(write)
    services.ledger.set_lifecycle(written, Lifecycle.ACTIVE, first_run=None)
    return written
