"""The warm worker against a real server: real worker processes, forkservers and flow runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_WORKER_PREFETCH_SECONDS, temporary_settings
from prefect.states import Cancelling, Completed, Failed, Pending, Running, Suspended

from prefect_instances.libs.adapters.warm_worker import servers as servers_module
from prefect_instances.libs.adapters.warm_worker.configuration import WarmJobConfiguration
from prefect_instances.libs.adapters.warm_worker.servers import Servers
from prefect_instances.libs.adapters.warm_worker.worker import (
    DEFAULT_LIMIT,
    PREFETCH_SECONDS,
    WarmWorker,
)
from tests.patience import eventually

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
FLOWS = "tests.e2e.warm_flows"
STOP_SECONDS = 40.0
KEPT = 2
"""Of so many environments one is let go for another; each takes seconds to start."""

Answer = TypeVar("Answer")


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not, whoever should reap it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Worker:
    """A worker process that this test started."""

    process: subprocess.Popen[bytes]
    log: Path

    def forkservers(self) -> list[psutil.Process]:
        """Its forkservers: direct children."""
        return psutil.Process(self.process.pid).children()

    def family(self) -> set[int]:
        """Every process below it."""
        return {one.pid for one in psutil.Process(self.process.pid).children(recursive=True)}

    def stop(self, number: signal.Signals) -> int:
        """Signal it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@dataclass
class Pool:
    """A work pool of the server under test, and what the runs in it have noted."""

    client: SyncPrefectClient
    environment: Mapping[str, str]
    directory: Path
    name: str = field(default_factory=lambda: f"warm-{uuid4().hex[:8]}")

    @property
    def notes_path(self) -> Path:
        """File that the flows write to."""
        return self.directory / "notes"

    def create(self, preload: list[str]) -> None:
        """Create it as `instances up` does: from the worker's own template."""
        template = WarmWorker.get_default_base_job_template()
        properties = template["variables"]["properties"]
        python_path = os.pathsep.join([str(self.directory), str(REPOSITORY)])
        properties["env"]["default"] = {"PYTHONPATH": python_path}
        properties["preload"]["default"] = preload
        self.client.create_work_pool(
            WorkPoolCreate(name=self.name, type=WarmWorker.type, base_job_template=template)
        )

    @contextlib.contextmanager
    def worker(self, name: str = "first", limit: int = 8) -> Iterator[Worker]:
        """A running worker with a warm forkserver; killed with all its processes afterwards."""
        log = self.directory / f"{name}.log"
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.name]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--name", name, "--limit", str(limit)],
                env={**self.environment},
                cwd=self.directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        worker = Worker(process, log)
        family: set[int] = set()
        try:
            eventually(lambda: "started!" in log.read_text(), what=f"the worker: {log.read_text()}")
            eventually(worker.forkservers, what="its forkserver")
            yield worker
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = worker.family()
            process.kill()
            process.wait()
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def start(
        self,
        entrypoint: str,
        env: dict[str, str] | None = None,
        preload: list[str] | None = None,
        **parameters: Any,
    ) -> UUID:
        """Create a run of the flow, due now; with other modules preloaded if some are named."""
        own = {"env": env, "preload": preload}
        flow_id = self.client.create_flow_from_name(entrypoint.rpartition(".")[2])
        deployment_id = self.client.create_deployment(
            flow_id=flow_id,
            name=self.name,
            work_pool_name=self.name,
            entrypoint=entrypoint,
            pull_steps=[],
            enforce_parameter_schema=False,
        )
        run = self.client.create_flow_run_from_deployment(
            deployment_id,
            parameters={"path": str(self.notes_path), **parameters},
            job_variables={"grace_seconds": 2, **{k: v for k, v in own.items() if v}},
        )
        return run.id

    def end(self, run_id: UUID) -> FlowRun:
        """The run, once it is in a final state."""

        def final() -> FlowRun | None:
            run = self.client.read_flow_run(run_id)
            return run if run.state is not None and run.state.is_final() else None

        ended: FlowRun = eventually(final, what=f"the end of run {run_id}")
        return ended

    def outcome(self, run_id: UUID) -> str:
        """Name of the final state."""
        state = self.end(run_id).state
        assert state is not None
        return state.type.value

    def history(self, run_id: UUID) -> list[str]:
        """Types of all states that the run has had."""
        states = self.client.read_flow_run_states(run_id)
        return [state.type.value for state in sorted(states, key=lambda one: one.timestamp)]

    def notes(self, run_id: UUID | None = None) -> list[dict[str, Any]]:
        """What was noted, by this run if one is given."""
        if not self.notes_path.exists():
            return []
        found = [json.loads(line) for line in self.notes_path.read_text().splitlines()]
        return [one for one in found if run_id is None or one["flow_run"] == str(run_id)]

    def body(self, run_id: UUID) -> dict[str, Any]:
        """The first note of the run, once its body has started."""
        notes: list[dict[str, Any]] = eventually(
            lambda: self.notes(run_id), what=f"the body of {run_id}"
        )
        return notes[0]

    def hooks(self, run_id: UUID) -> list[str]:
        """States in which hooks of the run were called."""
        return [one["hook"] for one in self.notes(run_id) if "hook" in one]

    def has_message(self, run_id: UUID, message: str) -> bool:
        """Whether the run's log in the server has it."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        return message in [log.message for log in self.client.read_logs(wanted)]


@pytest.fixture(scope="module")
def make_pool(
    prefect_api_url: str,
    prefect_environment: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Pool]]:
    """Creates a pool of the warm type, by default with this test's flows preloaded."""
    with SyncPrefectClient(prefect_api_url) as client:

        def make(preload: list[str] | None = None) -> Pool:
            pool = Pool(client, prefect_environment, tmp_path_factory.mktemp("pool"))
            pool.create([FLOWS] if preload is None else preload)
            return pool

        yield make


@pytest.fixture(scope="module")
def pool(make_pool: Callable[..., Pool]) -> Pool:
    """A pool whose worker survives what the tests do."""
    return make_pool()


@pytest.fixture(scope="module")
def worker(pool: Pool) -> Iterator[Worker]:
    """That worker."""
    with pool.worker() as worker:
        yield worker


@pytest.fixture
def own_pool(make_pool: Callable[..., Pool]) -> Pool:
    """A pool for this test alone."""
    return make_pool()


@pytest.fixture
def own_worker(own_pool: Pool) -> Iterator[Worker]:
    """A worker of that pool, which the test may end."""
    with own_pool.worker() as worker:
        yield worker


def test_every_run_has_a_process_of_its_own_and_its_log_in_the_server(
    pool: Pool, worker: Worker
) -> None:
    printed = worker.log.read_text().count("printed by the body")
    runs = [pool.start(f"{FLOWS}.mark") for _ in range(10)]
    assert [pool.outcome(run) for run in runs] == ["COMPLETED"] * 10
    bodies = [pool.body(run) for run in runs]
    assert len({body["pid"] for body in bodies}) == 10
    assert len({body["cwd"] for body in bodies}) == 10
    [parent] = {body["ppid"] for body in bodies}
    assert parent in {one.pid for one in worker.forkservers()}
    for run in runs:
        eventually(partial(pool.has_message, run, "a line from the body"), what="the log")
    assert worker.log.read_text().count("printed by the body") == printed + 10


def test_a_run_that_the_worker_read_for_it_knows_what_the_server_knows(
    pool: Pool, worker: Worker
) -> None:
    run = pool.start(f"{FLOWS}.compare", word="hello")
    assert pool.outcome(run) == "COMPLETED"
    moving = {"updated", "estimated_run_time", "estimated_start_time_delta"}
    # The worker tells the server the process after it has started it.
    assert pool.body(run)["differ"].keys() - moving <= {"infrastructure_pid"}
    assert pool.body(run)["heartbeat"] is None


def test_a_worker_is_bounded_and_takes_no_runs_long_before_their_time() -> None:
    assert WarmWorker("a pool")._limit == DEFAULT_LIMIT
    assert WarmWorker("a pool", limit=3)._limit == 3
    assert WarmWorker("a pool", prefetch_seconds=10)._prefetch_seconds == PREFETCH_SECONDS
    assert WarmWorker("a pool", prefetch_seconds=7)._prefetch_seconds == 7
    with temporary_settings({PREFECT_WORKER_PREFETCH_SECONDS: 10}):
        assert WarmWorker("a pool", prefetch_seconds=10)._prefetch_seconds == 10


def test_the_environment_that_was_not_used_for_longest_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers_module, "MAX_SERVERS", KEPT)

    async def use_more_than_are_kept() -> tuple[list[bool], bool]:
        servers = Servers()
        try:
            environments = [{**os.environ, "WARM": str(n)} for n in range(KEPT + 1)]
            warm = [await servers.warm(one, []) for one in environments[:-1]]
            assert await servers.warm(environments[0], []) is warm[0]
            warm.append(await servers.warm(environments[-1], []))
            async with asyncio.timeout(60):
                while warm[1].alive:
                    await asyncio.sleep(0.05)
            return [one.alive for one in warm], warm[1].is_current()
        finally:
            await servers.stop()

    alive, is_current = asyncio.run(use_more_than_are_kept())
    assert alive == [True, False, *[True] * (KEPT - 1)]
    assert not is_current


def test_modules_that_take_long_keep_runs_that_do_not_need_them_from_nothing(
    tmp_path: Path,
) -> None:
    released = tmp_path / "released"
    (tmp_path / "heavy.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(released)!r}):\n    time.sleep(0.05)\n"
    )
    python_path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": python_path}

    async def start_both() -> bool:
        servers = Servers()
        try:
            heavy = asyncio.create_task(servers.warm(environment, ["heavy"]))
            await asyncio.sleep(0)
            light = await servers.warm(environment, [])
            waited = not heavy.done()
            released.touch()
            return waited and light.alive and (await heavy).alive
        finally:
            await servers.stop()

    assert asyncio.run(start_both())


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, str]:
    """Modules on the path: common and extra note who imports them, threaded starts a thread."""
    for name in ("common", "extra"):
        file = str(tmp_path / name)
        (tmp_path / f"{name}.py").write_text(
            f"import os\nopen({file!r}, 'a').write(f'{{os.getpid()}} ')\n"
        )
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    python_path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    return {**os.environ, "PYTHONPATH": python_path}


def with_servers(use: Callable[[Servers], Awaitable[Answer]]) -> Answer:
    """What an action with forkservers returns; they end after it."""

    async def used() -> Answer:
        servers = Servers()
        try:
            return await use(servers)
        finally:
            await servers.stop()

    return asyncio.run(used())


def test_additional_modules_are_imported_in_a_fork_that_has_the_others(
    modules: dict[str, str], tmp_path: Path
) -> None:
    async def start_both(servers: Servers) -> list[int]:
        more = await servers.warm(modules, ["common"], ["extra"])
        base = await servers.warm(modules, ["common"])
        assert await servers.warm(modules, ["common"], ["extra"]) is more
        assert psutil.Process(more.pid).ppid() == base.pid
        return [base.pid, more.pid]

    base, more = with_servers(start_both)

    assert (tmp_path / "common").read_text().split() == [str(base)]
    assert (tmp_path / "extra").read_text().split() == [str(more)]
    assert not is_alive(base)
    assert not is_alive(more)


def test_where_no_socket_can_have_an_address_all_modules_are_imported_anew(
    modules: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    async def start(servers: Servers) -> int:
        return (await servers.warm(modules, ["common"], ["extra"])).pid

    started = with_servers(start)
    assert (tmp_path / "common").read_text().split() == [str(started)]


def test_a_fork_with_more_modules_outlives_the_one_it_comes_from(modules: dict[str, str]) -> None:
    async def kill_base(servers: Servers) -> list[int]:
        more = await servers.warm(modules, [], ["extra"])
        base = await servers.warm(modules, [])
        os.kill(base.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while base.alive:
                await asyncio.sleep(0.05)
        assert await servers.warm(modules, [], ["extra"]) is more
        assert (await servers.warm(modules, [])).pid != base.pid
        return [more.pid]

    [more] = with_servers(kill_base)

    assert not is_alive(more)


def test_a_server_that_takes_no_more_jobs_is_replaced_before_it_is_forked_from(
    modules: dict[str, str],
) -> None:
    async def retire_base(servers: Servers) -> bool:
        await servers.warm(modules, ["common"], ["wave"])  # keeps the one it comes from alive
        base = await servers.warm(modules, ["common"])
        base.retire()
        more = await servers.warm(modules, ["common"], ["extra"])
        return base.alive and more.alive and psutil.Process(more.pid).ppid() != base.pid

    assert with_servers(retire_base)


def test_a_fork_whose_modules_start_threads_is_started_without_any(
    modules: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    async def start(servers: Servers) -> bool:
        return (await servers.warm(modules, ["common"], ["threaded"])).alive

    assert with_servers(start)
    assert (
        "Nothing is preloaded, because importing ['common', 'threaded']" in capfd.readouterr().err
    )


def test_a_tag_adds_modules_to_those_that_every_run_has() -> None:
    configuration = WarmJobConfiguration(
        preload=["polars", "prefect_instances.flows.*"],
        preload_by_tag={"heavy": ["mlflow", "polars"], "other": ["x"]},
    )
    assert configuration.additional_modules(["heavy", "unknown"]) == ["mlflow"]
    assert configuration.additional_modules([]) == []


def test_nothing_that_a_run_changed_is_seen_by_the_next(pool: Pool, worker: Worker) -> None:
    first = pool.start(f"{FLOWS}.leak", env={"WARM_SETTING": "first"})
    assert pool.outcome(first) == "COMPLETED"
    second, third = pool.start(f"{FLOWS}.leak"), pool.start(f"{FLOWS}.leak")
    assert [pool.outcome(run) for run in (second, third)] == ["COMPLETED"] * 2
    assert pool.body(first)["setting"] == "first"
    assert pool.body(first)["ppid"] != pool.body(second)["ppid"] == pool.body(third)["ppid"]
    for body in (pool.body(second), pool.body(third)):
        assert (body["found"], body["variable"], body["setting"], body["files"]) == (
            [],
            None,
            None,
            [],
        )
        assert body["import_path"][0] == body["cwd"]
        assert body["limit"] == pool.body(first)["limit"]
    draws = [tuple(pool.body(run)["draws"]) for run in (first, second, third)]
    assert len({draw for pair in draws for draw in pair}) == 6


@pytest.mark.parametrize(
    ("flow", "parameters", "outcome", "hooks"),
    [
        pytest.param("asynchronous", {}, "COMPLETED", [], id="async"),
        pytest.param("fail", {}, "FAILED", [], id="exception"),
        pytest.param("tardy", {}, "FAILED", [], id="timeout"),
        pytest.param("greedy", {"killed": False}, "FAILED", [], id="out of memory"),
        pytest.param("greedy", {"killed": True}, "CRASHED", ["CRASHED"], id="killed for memory"),
        pytest.param("leave", {"code": 3, "hard": False}, "CRASHED", ["CRASHED"], id="sys.exit(3)"),
        pytest.param("leave", {"code": 0, "hard": False}, "CRASHED", ["CRASHED"], id="sys.exit(0)"),
        pytest.param("leave", {"code": 3, "hard": True}, "CRASHED", ["CRASHED"], id="os._exit(3)"),
        pytest.param("leave", {"code": 0, "hard": True}, "CRASHED", ["CRASHED"], id="os._exit(0)"),
    ],
)
def test_a_run_ends_in_the_state_that_its_body_asks_for(
    pool: Pool,
    worker: Worker,
    flow: str,
    parameters: dict[str, Any],
    outcome: str,
    hooks: list[str],
) -> None:
    run = pool.start(f"{FLOWS}.{flow}", **parameters)
    assert pool.outcome(run) == outcome
    eventually(lambda: pool.hooks(run) == hooks, what=f"the hooks {hooks}")
    pid = pool.body(run)["pid"]
    eventually(lambda: not is_alive(pid), what="the end of the process")
    assert pool.hooks(run) == hooks


def test_a_run_whose_flow_cannot_be_loaded_is_crashed(pool: Pool, worker: Worker) -> None:
    assert pool.outcome(pool.start(f"{FLOWS}.absent")) == "CRASHED"


def test_a_killed_run_is_crashed_and_leaves_no_process(pool: Pool, worker: Worker) -> None:
    run = pool.start(f"{FLOWS}.linger")
    body = pool.body(run)
    os.kill(body["pid"], signal.SIGKILL)
    assert pool.outcome(run) == "CRASHED"
    eventually(lambda: pool.hooks(run) == ["CRASHED"], what="the hook")
    assert not is_alive(body["pid"])
    assert not is_alive(body["child"])


def test_a_cancelled_run_leaves_its_body_and_ends_cancelled(pool: Pool, worker: Worker) -> None:
    run = pool.start(f"{FLOWS}.linger")
    body = pool.body(run)
    pool.client.set_flow_run_state(run, Cancelling())
    assert pool.outcome(run) == "CANCELLED"
    assert [note["left"] for note in pool.notes(run) if "left" in note] == [True]
    assert pool.hooks(run) == ["CANCELLING"]
    assert pool.history(run)[-3:] == ["RUNNING", "CANCELLING", "CANCELLED"]
    assert not is_alive(body["pid"])
    assert not is_alive(body["child"])


def test_a_suspended_run_stops_before_its_next_task_and_can_go_on(
    pool: Pool, worker: Worker
) -> None:
    run = pool.start(f"{FLOWS}.steps", count=300)
    process = pool.body(run)["pid"]
    pool.client.set_flow_run_state(run, Suspended(timeout_seconds=600))
    eventually(lambda: not is_alive(process), what="the end of the suspended run")
    taken = len(pool.notes(run))
    state = pool.client.read_flow_run(run).state
    assert state is not None
    assert (state.type, state.name) == (StateType.PAUSED, "Suspended")
    assert taken < 300
    pool.client.resume_flow_run(run)
    eventually(lambda: len(pool.notes(run)) > taken, what="the resumed run")
    pool.client.set_flow_run_state(run, Cancelling())
    assert pool.outcome(run) == "CANCELLED"


def test_a_cancelled_run_that_refuses_to_end_is_killed(pool: Pool, worker: Worker) -> None:
    run = pool.start(f"{FLOWS}.stubborn")
    body = pool.body(run)
    pool.client.set_flow_run_state(run, Cancelling())
    assert pool.outcome(run) == "CANCELLED"
    assert "refused" in pool.notes(run)[1]
    assert pool.hooks(run) == ["CANCELLING"]
    assert not is_alive(body["pid"])


def test_a_killed_forkserver_costs_no_run(pool: Pool, worker: Worker) -> None:
    running = pool.start(f"{FLOWS}.linger", seconds=4)
    pool.body(running)
    dead = worker.forkservers()[0].pid
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: not is_alive(dead), what="its death")
    following = pool.start(f"{FLOWS}.mark")
    assert pool.outcome(following) == "COMPLETED"
    assert pool.body(following)["ppid"] != dead
    assert pool.outcome(running) == "COMPLETED"


def test_a_run_killed_after_its_forkserver_is_crashed(pool: Pool, worker: Worker) -> None:
    run = pool.start(f"{FLOWS}.linger")
    body = pool.body(run)
    os.kill(body["ppid"], signal.SIGKILL)
    os.kill(body["pid"], signal.SIGKILL)
    assert pool.outcome(run) == "CRASHED"
    eventually(lambda: pool.hooks(run) == ["CRASHED"], what="the hook")


def test_changed_code_is_run_at_once(pool: Pool, worker: Worker) -> None:
    say = partial(pool.start, "changing.say", preload=["changing"])
    source = pool.directory / "changing.py"
    text = f"from prefect import flow\nfrom {FLOWS} import note\n"
    text += "@flow\ndef say(path: str) -> None:\n    note(path, version=VERSION)\n"
    source.write_text(f"{text}VERSION = 1\n")
    first, again = say(), say()
    assert [pool.outcome(run) for run in (first, again)] == ["COMPLETED"] * 2
    source.write_text(f"{text}VERSION = 2  # longer, as byte code goes by size and time\n")
    changed = say()
    assert pool.outcome(changed) == "COMPLETED"
    assert [pool.body(run)["version"] for run in (first, again, changed)] == [1, 1, 2]
    servers = [pool.body(run)["ppid"] for run in (first, again, changed)]
    assert servers[0] == servers[1] != servers[2]


def test_two_workers_run_each_run_once_within_their_limits_and_take_their_processes_along(
    own_pool: Pool,
) -> None:
    """One ends as it is asked to, the other is killed."""
    pool, limit = own_pool, 2
    with pool.worker("first", limit) as first, pool.worker("second", limit) as second:
        servers = {worker.forkservers()[0].pid: worker for worker in (first, second)}
        runs = [pool.start(f"{FLOWS}.linger", seconds=1) for _ in range(10)]
        assert [pool.outcome(run) for run in runs] == ["COMPLETED"] * 10
        begun = [note for note in pool.notes() if "left" not in note]
        assert sorted(note["flow_run"] for note in begun) == sorted(map(str, runs))
        assert {note["ppid"] for note in begun} == servers.keys()
        assert [most_at_a_time(pool.notes(), server) for server in servers] == [limit, limit]

        for number in (signal.SIGTERM, signal.SIGKILL):
            run = pool.start(f"{FLOWS}.linger")
            body = pool.body(run)
            end_and_see_it_leave_nothing(pool, servers[body["ppid"]], run, body, number)


def end_and_see_it_leave_nothing(
    pool: Pool, worker: Worker, run: UUID, body: Mapping[str, Any], number: signal.Signals
) -> None:
    """End a worker that executes a run: the run is Crashed, and no process is left."""
    family = worker.family()
    assert {body["pid"], body["ppid"], body["child"]} <= family
    killed = number is signal.SIGKILL
    assert worker.stop(number) == (-signal.SIGKILL if killed else 0)
    if killed:
        eventually(
            lambda: not [pid for pid in family if is_alive(pid)], what="the end of its processes"
        )
    assert [pid for pid in family if is_alive(pid)] == []
    assert pool.outcome(run) == "CRASHED"


@pytest.mark.thorough
def test_a_worker_that_is_interrupted_ends_its_runs_and_leaves_no_process(
    own_pool: Pool, own_worker: Worker
) -> None:
    run = own_pool.start(f"{FLOWS}.linger")
    body = own_pool.body(run)
    end_and_see_it_leave_nothing(own_pool, own_worker, run, body, signal.SIGINT)


def most_at_a_time(notes: list[dict[str, Any]], server: int) -> int:
    """How many runs of a forkserver were in their body at a time."""
    own = [note for note in notes if note["ppid"] == server]
    steps = sorted((note["time"], -1 if "left" in note else 1) for note in own)
    return max(accumulate(step for _, step in steps))


@pytest.mark.parametrize(
    "end", [Completed(message="done"), Failed(message="no data")], ids=["completed", "failed"]
)
def test_a_worker_leaves_a_run_that_another_one_ran_since_its_poll(
    own_pool: Pool, prefect_api_url: str, end: State[Any]
) -> None:
    pool = own_pool
    polled = pool.client.read_flow_run(pool.start(f"{FLOWS}.mark"))
    for state in (Pending(), Running(), end):
        pool.client.set_flow_run_state(polled.id, state)

    async def take() -> bool:
        worker = WarmWorker(work_pool_name=pool.name)
        async with PrefectClient(prefect_api_url) as worker._client:
            return await worker._propose_pending_state(polled)

    assert asyncio.run(take()) is False
    after = pool.client.read_flow_run(polled.id).state
    assert after is not None
    assert (after.type, after.name, after.message) == (end.type, end.name, end.message)


def test_a_worker_takes_a_due_run_once(own_pool: Pool, prefect_api_url: str) -> None:
    polled = own_pool.client.read_flow_run(own_pool.start(f"{FLOWS}.mark"))

    async def take() -> list[bool]:
        worker = WarmWorker(work_pool_name=own_pool.name)
        async with PrefectClient(prefect_api_url) as worker._client:
            return [await worker._propose_pending_state(polled) for _ in range(2)]

    assert asyncio.run(take()) == [True, False]

    own_pool.client.delete_flow_run(polled.id)
    assert asyncio.run(take()) == [False, False]


def test_polars_and_delta_lake_work_in_forked_runs(pool: Pool, worker: Worker) -> None:
    root = str(pool.directory / "tables")
    runs = [pool.start(f"{FLOWS}.frames", root=root) for _ in range(12)]
    assert [pool.outcome(run) for run in runs] == ["COMPLETED"] * 12
    notes = [pool.body(run) for run in runs]
    results = {(note["sums"], note["read"], note["version"]) for note in notes}
    assert results == {(7, 100_000, 1)}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("threaded", "import polars as pl\npl.select(pl.lit(1) + 1)\n", "polars-"),
        ("failing", "raise RuntimeError('not today')\n", "not today"),
    ],
)
def test_runs_survive_a_module_that_cannot_be_preloaded(
    pool: Pool, worker: Worker, module: str, source: str, complaint: str
) -> None:
    (pool.directory / f"{module}.py").write_text(source)
    root = str(pool.directory / "tables")
    run = pool.start(f"{FLOWS}.frames", preload=[module, FLOWS], root=root)
    assert pool.outcome(run) == "COMPLETED"
    assert complaint in worker.log.read_text()
