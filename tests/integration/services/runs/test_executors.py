"""Executors: the same bytes wherever parts run, a worker that dies, and what is told before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from distributed import LocalCluster
from sqlalchemy import select

from prefect_instances.libs.core.errors import InvalidSpec, Problem, Unavailable
from prefect_instances.libs.db.models import FlowExecutionResource, RunRecord
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.content import content_hash
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.expressions.program import run_program, split_by_symbol
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.op import Argument, Axis, Op
from prefect_instances.libs.definitions.pipeline import ExtractContext, Input
from prefect_instances.libs.plugins.dask_cluster import DaskExecutor
from prefect_instances.libs.plugins.expression import ExpressionPipeline
from prefect_instances.libs.plugins.local import LocalExecutor
from prefect_instances.libs.plugins.ray_cluster import RayExecutor
from prefect_instances.libs.services.lifecycle.executors import check_executor
from prefect_instances.libs.services.views.outputs import list_versions
from prefect_instances.libs.specs import parse_spec
from tests.integration.bench import Bench

NOWHERE = {"definition": "dask", "config": {"address": "tcp://127.0.0.1:9", "timeout_seconds": 0.2}}
ARGUMENTS: dict[Argument, Any] = {
    Argument.SERIES: "x",
    Argument.CONDITION: "x > y",
    Argument.WINDOW: 5,
    Argument.NUMBER: 2.0,
}
OPS = [op for op in load_installed().list() if issubclass(op, Op)]
on_ray = pytest.mark.skipif(
    "TEST_RAY" not in os.environ,
    reason="Ray's client server does not always start beside other tests: TEST_RAY=1 runs them",
)
"""For a test that wants a Ray cluster; run these alone."""

BY_SYMBOL = [op for op in OPS if op.axis is not Axis.DATE]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A scheduler and two workers, each in a process of its own; one that is killed comes back.

    Each has two threads, so that no part waits behind one that waits for it.
    """
    with LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0"
    ) as running:
        yield running


@pytest.fixture
def dask(cluster: LocalCluster) -> DaskExecutor:
    return DaskExecutor({"address": cluster.scheduler_address, "pieces": 3})


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """The client server of a Ray cluster with two workers, in processes of its own."""
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets lie in it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "--port": 0,
        "--ray-client-server-port": port,
        "--num-cpus": 2,
        "--object-store-memory": 200_000_000,
        "--include-dashboard": "false",
        "--temp-dir": folder,
    }
    words = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *words]
    path = {"PYTHONPATH": str(Path(__file__).parents[4]), "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen(command, env={**os.environ, **path}, stdout=subprocess.DEVNULL) as head:
        try:
            while not answers(port):
                assert head.poll() is None
                time.sleep(0.1)
            yield f"ray://127.0.0.1:{port}"
        finally:
            below = psutil.Process(head.pid).children(recursive=True)
            for process in below:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            head.kill()
    shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def ray_there(ray_address: str) -> Iterator[RayExecutor]:
    """An executor that stays connected: a connection takes Ray seconds."""
    executor = RayExecutor({"address": ray_address, "pieces": 3, "timeout_seconds": 60})
    with executor.connect():
        yield executor


def rows() -> pl.DataFrame:
    """Seven symbols whose values have gaps, in no order."""
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(40)]
    drawn = np.random.default_rng(7).normal(size=(2, 40 * 7)) * 10.0 ** np.arange(280) ** 0.2
    keys = [(day, f"S{at}") for day in days for at in range(7)]
    frame = pl.DataFrame(keys, ["date", "symbol"], orient="row")
    values = frame.with_columns(x=pl.Series(drawn[0]), y=pl.Series(drawn[1]))
    holes = pl.int_range(pl.len()) % 17 == 3
    return values.with_columns(x=pl.when(~holes).then("x")).sample(fraction=1, shuffle=True, seed=1)


def hash_of(expression: str, executor: Any) -> str:
    context = ExtractContext("test", datetime(2024, 6, 1, tzinfo=UTC), executor=executor)
    inputs = [Input("rows", "input", rows().lazy())]
    return content_hash(
        ExpressionPipeline({"expression": expression}).extract(context, inputs, None).frame
    )


@pytest.mark.parametrize("op", BY_SYMBOL, ids=[op.name for op in BY_SYMBOL])
def test_every_op_of_a_symbol_gives_the_same_bytes_on_dask(op: type[Op], dask: Any) -> None:
    expression = write_call(op)
    assert hash_of(expression, dask) == hash_of(expression, LocalExecutor())


def write_call(op: type[Op]) -> str:
    values = {name: ARGUMENTS[kind] for name, kind in op.arguments.items()}
    series = [name for name, kind in op.arguments.items() if kind is Argument.SERIES]
    return op.write_call(values | dict(zip(series, "xy", strict=False)))


def test_nested_ops_give_the_same_bytes_on_dask(dask: Any) -> None:
    expression = "TS_ZSCORE(EMA(x, 5) - MEAN(y, 10), 10) / STD(REF(x, 1), 4) ** 2"
    assert hash_of(expression, dask) == hash_of(expression, None)


class Noting(LocalExecutor):
    """Notes what is divided, and computes here."""

    in_process, pieces = False, 3

    def map(self, function: Any, parts: Any, shared: Any = None) -> list[Any]:
        self.noted = (shared, parts)
        return super().map(function, parts, shared)


def run_parts(_: None, work: tuple[Any, list[pl.DataFrame]]) -> str:
    program, parts = work
    return content_hash(pl.concat([run_program(program, part) for part in parts]))


@on_ray
def test_every_op_of_a_symbol_gives_the_same_bytes_on_ray(ray_there: RayExecutor) -> None:
    work = []
    for op in BY_SYMBOL:
        here = Noting()
        hash_of(write_call(op), here)
        work.append(here.noted)
    assert len(work) > 15
    assert ray_there.map(run_parts, work) == [run_parts(None, each) for each in work]
    assert hash_of("EMA(x, 5) / STD(y, 4)", ray_there) == hash_of("EMA(x, 5) / STD(y, 4)", None)


def test_rows_are_split_between_symbols() -> None:
    parts = split_by_symbol(rows(), 3)
    assert [sorted(part["symbol"].unique()) for part in parts] == [
        ["S0", "S1", "S2"],
        ["S3", "S4", "S5"],
        ["S6"],
    ]
    assert sum(part.height for part in parts) == rows().height
    assert len(split_by_symbol(rows(), 100)) == 7
    assert split_by_symbol(rows().clear(), 3)[0].height == 0


class Noted(str):
    """A part's value; notes in the folder that the process that asked has got it."""

    folder: Path

    def __reduce__(self) -> Any:
        return note_fetched, (str(self), str(self.folder), os.getpid())


def note_fetched(value: str, folder: str, sender: int) -> Noted:
    """Make the value anew; in another process than the sender's, note that it arrived."""
    noted = Noted(value)
    noted.folder = Path(folder)
    if os.getpid() != sender:
        (noted.folder / f"{value} arrived").touch()
    return noted


def note_and_die_once(folder: str, part: str) -> Noted:
    """Note that the part runs; the part ``0`` ends its process once the others have arrived."""
    with (Path(folder) / part).open("a") as noted:
        noted.write("x")
    if part == "0" and (Path(folder) / part).read_text() == "x":
        while len(list(Path(folder).glob("* arrived"))) < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return note_fetched(part, folder, os.getpid())


def test_a_worker_that_dies_costs_only_its_part(dask: DaskExecutor, tmp_path: Path) -> None:
    parts = ["0", "1", "2", "3"]

    assert dask.map(note_and_die_once, parts, str(tmp_path)) == parts
    assert_ran(tmp_path)


@on_ray
def test_a_ray_worker_that_dies_costs_only_its_part(ray_there: RayExecutor, tmp_path: Path) -> None:
    assert ray_there.map(die_once, ["0", "1", "2", "3"], str(tmp_path)) == ["0", "1", "2", "3"]
    assert_ran(tmp_path)


def die_once(folder: str, part: str) -> str:
    """Note that the part runs; the part ``0`` ends its process the first time."""
    with (Path(folder) / part).open("a") as noted:
        noted.write("x")
    if part == "0" and (Path(folder) / part).read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def assert_ran(folder: Path) -> None:
    """Only the part ``0`` ran twice."""
    assert {part: len((folder / part).read_text()) for part in "0123"} == {
        "0": 2,
        "1": 1,
        "2": 1,
        "3": 1,
    }


def refuse(_: object, part: str) -> str:
    raise ValueError(f"no {part}")


def test_an_error_of_a_part_comes_as_it_is(dask: DaskExecutor) -> None:
    with pytest.raises(ValueError, match="no a"):
        dask.map(refuse, ["a"])


@on_ray
def test_an_error_of_a_part_on_ray_comes_as_it_is(ray_there: RayExecutor) -> None:
    with pytest.raises(ValueError, match="no a"):
        ray_there.map(refuse, ["a"])


@on_ray
def test_a_run_on_ray_publishes_the_bytes_of_a_local_one(
    bench: Bench, project: str, ray_address: str
) -> None:
    executor = {"definition": "ray", "config": {"address": ray_address, "timeout_seconds": 60}}
    prices = {"definition": "market_data", "config": {"start_date": "2022-06-01"}}
    expression = {"definition": "expression", "config": {"expression": "close / REF(close, 5)"}}
    common: dict[str, Any] = {"project": project, "type": "DatasetInstance"}
    bench.provision({**common, "name": "prices", "pipeline": prices})
    derived = {**common, "pipeline": expression, "upstream_refs": ["prices"]}
    for name, where in (("here", {}), ("there", {"executor": executor})):
        bench.provision({**derived, **where, "name": name})
    bench.drain()
    here, there = flow_of(bench, "here"), flow_of(bench, "there")
    assert here.content_hash == there.content_hash != ""


def die_once_then_run(flag: str, program: Any, part: pl.DataFrame) -> pl.DataFrame:
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_program(program, part)


def test_a_run_whose_worker_dies_publishes_one_version_with_the_bytes_of_a_local_one(
    bench: Bench, project: str, cluster: LocalCluster, tmp_path: Path, monkeypatch: Any
) -> None:
    executor = {"definition": "dask", "config": {"address": cluster.scheduler_address}}
    prices = {"definition": "market_data", "config": {"start_date": "2022-06-01"}}
    expression = {"definition": "expression", "config": {"expression": "close / REF(close, 5)"}}
    sweep = {
        "sweep": {"grid": {"d": [5, 21, 5000]}},
        "expression": "ZSCORE(close / REF(close, $d))",
    }
    common: dict[str, Any] = {"project": project, "upstream_refs": ["prices"]}
    dataset: dict[str, Any] = {**common, "type": "DatasetInstance", "pipeline": expression}
    idea: dict[str, Any] = {**common, **sweep, "type": "ExperimentInstance"}
    whole = {**executor, "config": {**executor["config"], "pieces": 1}}
    document = {"project": project, "name": "prices", "type": "DatasetInstance"}
    bench.provision({**document, "pipeline": prices})
    for name, where in (("here", {}), ("there", {"executor": executor})):
        bench.provision({**dataset, **where, "name": name})
    for name, where in (("swept_here", {}), ("swept_there", {"executor": whole})):
        bench.provision({**idea, **where, "name": name})
    flag = tmp_path / "died"
    dying = partial(die_once_then_run, str(flag))

    with monkeypatch.context() as patched:
        place = "prefect_instances.libs.plugins.expression.run_program"
        patched.setattr(place, lambda program, part: run_program(program, part))
        bench.drain(only="prices")
        bench.drain(only="here")
        patched.setattr(place, dying)
        bench.drain(only="there")
    bench.drain()

    assert flag.exists()
    for here, there in (("here", "there"), ("swept_here", "swept_there")):
        one, other = flow_of(bench, here), flow_of(bench, there)
        assert (other.generation, other.status) == (1, "READY")
        assert one.content_hash == other.content_hash != ""
        assert len(list_versions(bench.services, f"{project}/{there}")) == 1
    assert metrics_of(bench, "swept_here") == metrics_of(bench, "swept_there")
    assert len(metrics_of(bench, "swept_there")["sweep"]) == 3


def flow_of(bench: Bench, name: str) -> FlowExecutionResource:
    with bench.services.database.read() as session:
        return session.get_one(FlowExecutionResource, bench.flow_id(name))


def metrics_of(bench: Bench, name: str) -> dict[str, Any]:
    """Those of its only run, without its time."""
    with bench.services.database.read() as session:
        query = select(RunRecord).where(RunRecord.flow_id == bench.flow_id(name))
        found = dict(session.scalars(query).one().metrics)
    return {name: value for name, value in found.items() if name != "seconds"}


def problems_of(document: dict[str, Any], bench: Bench) -> list[Problem]:
    with pytest.raises(InvalidSpec) as caught:
        bench.provision(document)
    return list(caught.value.problems)


def test_what_cannot_be_divided_is_told_before_anything_is_written(
    bench: Bench, project: str, cluster: LocalCluster
) -> None:
    dask = {"definition": "dask", "config": {"address": cluster.scheduler_address}}
    source = {"project": project, "name": "prices", "type": "DatasetInstance"}
    source |= {"pipeline": {"definition": "market_data"}}
    bench.provision(source)
    idea = {"project": project, "name": "idea", "type": "ExperimentInstance"}
    idea |= {"expression": "RANK(close) + ZSCORE(close)", "upstream_refs": ["prices"]}

    assert problems_of({**source, "name": "other", "executor": dask}, bench) == [
        Problem(
            "executor.definition",
            "pipeline 'market_data' runs in one piece: use the executor local",
        )
    ]
    assert problems_of({**idea, "executor": dask}, bench) == [
        Problem(
            "executor.config.pieces",
            "RANK, ZSCORE reads all symbols of a date, so the rows stay whole: "
            "set pieces to 1, or use the executor local",
        )
    ]
    wrong = {"definition": "dask", "config": {"address": "somewhere", "pieces": 0}}
    address, pieces = problems_of({**idea, "executor": wrong}, bench)
    assert address == Problem("executor.config.address", "write tcp://HOST:PORT of the scheduler")
    assert pieces.path == "executor.config.pieces"


def problem_of(executor: dict[str, Any]) -> str:
    pipeline = {"definition": "expression", "config": {"expression": "x"}}
    document = {"project": "p", "name": "n", "type": "DatasetInstance", "pipeline": pipeline}
    with pytest.raises(InvalidSpec) as caught:
        check_executor(load_installed(), parse_spec({**document, "executor": executor}))
    (problem,) = caught.value.problems
    assert problem.path == "executor"
    return problem.message


def test_a_cluster_that_cannot_be_used_is_told_in_one_line(monkeypatch: Any) -> None:
    said = "Dask cluster tcp://127.0.0.1:9 is not available: "
    assert problem_of(NOWHERE) == said + "it cannot be reached"
    nowhere = {"definition": "ray", "config": {"address": "ray://127.0.0.1:9"}}
    no_ray = "Ray cluster ray://127.0.0.1:9 is not available: "
    assert problem_of(nowhere) == no_ray + "it cannot be reached"
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty:
        config = {"address": empty.scheduler_address}
        assert problem_of({"definition": "dask", "config": config}).endswith("it has no worker")
    monkeypatch.setitem(sys.modules, "distributed", None)
    advice = "Dask is not installed: install prefect-instances[dask]"
    assert problem_of(NOWHERE) == said + advice
    monkeypatch.setitem(sys.modules, "ray", None)
    advice = "Ray is not installed: install prefect-instances[ray]"
    assert problem_of(nowhere) == no_ray + advice


def test_a_worker_with_another_version_is_refused(dask: DaskExecutor, monkeypatch: Any) -> None:
    refuse_other_versions(dask, monkeypatch)


@on_ray
def test_a_ray_worker_with_another_version_is_refused(
    ray_there: RayExecutor, monkeypatch: Any
) -> None:
    refuse_other_versions(ray_there, monkeypatch)


def refuse_other_versions(executor: Executor, monkeypatch: Any) -> None:
    executor.check()
    place = "prefect_instances.libs.plugins.cluster.version"
    monkeypatch.setattr(place, lambda package: f"9-{package}")
    with pytest.raises(Unavailable, match=r"must have prefect-instances 9-prefect-instances, "):
        executor.check()


def test_executors_are_definitions_like_others() -> None:
    found = [each for each in load_installed().list() if each.kind is DefinitionKind.EXECUTOR]
    assert [each.name for each in found] == ["dask", "local", "ray"]
