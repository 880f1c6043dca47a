"""The local runtime and the command line over real servers and workers in homes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import httpx
import psutil
import pytest
import yaml

from prefect_instances.libs.core.status import FlowKind
from tests.e2e.stack import Stack
from tests.e2e.warm_cli import WarmCommandLine
from tests.patience import eventually
from tests.prefect_server import DATABASE, begin_migrated

COMMAND = Path(sys.executable).with_name("instances")
SECONDS = 400.0
ROLES = ("server", "worker")
STARTERS = ("demo", "down", "up")
"""Commands that start or end processes: these always have a process of their own."""


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass(frozen=True)
class LivingHome:
    """A home and the command line for it, as a person on an otherwise untouched machine has it."""

    path: Path
    more: Mapping[str, str] = field(default_factory=dict)
    warm: WarmCommandLine | None = None

    @property
    def environment(self) -> dict[str, str]:
        """No setting of ours or of Prefect's but the home; leftovers of another Prefect."""
        foreign = ("INSTANCES_", "PREFECT_")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
        leftovers = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nowhere/x"}
        # A user's home without Prefect profiles, and one in which a new one would show.
        private = {"INSTANCES_HOME": str(self.path), "PREFECT_HOME": str(self.path / "user")}
        return {**kept, **leftovers, **private, **self.more}

    def run(self, *arguments: str) -> Said:
        """Run one command to its end; without its start where that is not what it does."""
        if self.warm is None or arguments[0] in STARTERS:
            return self.start(*arguments)
        done = self.warm.run(arguments, SECONDS)
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Said:
        """Run one command to its end, in a process of its own."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @property
    def api_url(self) -> str:
        """Address of the embedded server."""
        config = json.loads((self.path / "config.json").read_text())
        return str(config["prefect_api_url"])

    def pid(self, role: str) -> int:
        """Process id that is recorded for a role."""
        return int(json.loads((self.path / "run" / f"{role}.json").read_text())["pid"])

    def pids(self) -> tuple[int, ...]:
        """Process ids of server and worker."""
        return tuple(self.pid(role) for role in ROLES)

    def processes(self) -> list[psutil.Process]:
        """Everything that serves this home, however it came to be."""
        return [
            process for process in psutil.process_iter() if self._mark(process).endswith(self._end)
        ]

    @property
    def _end(self) -> str:
        return f"@{self.path.resolve()}"

    @staticmethod
    def _mark(process: psutil.Process) -> str:
        try:
            return process.environ().get("INSTANCES_RUNTIME", "")
        except (psutil.Error, OSError):
            return ""


@dataclass(frozen=True)
class Shown:
    """A home with the demonstration left running."""

    home: LivingHome
    said: Said
    """What ``demo`` said."""
    joint: list[dict[str, Any]]
    """The runs of the instance at the joint, then."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    home = LivingHome(tmp_path_factory.mktemp("demo"))
    said = home.run("demo", "--keep")
    stack = Stack(home.path)
    warm = WarmCommandLine(home.environment)
    yield Shown(replace(home, warm=warm), said, stack.runs("relative_momentum"))
    warm.close()
    try:
        purge_and_see_nothing_left(stack)
    finally:
        home.run("down")


@pytest.fixture
def demo(shown: Shown) -> LivingHome:
    return shown.home


def test_demo_ends_with_every_instance_ready(shown: Shown) -> None:
    home, said = shown.home, shown.said

    assert said.code == 0, said
    statuses = home.start("status", "--json").json["instances"]
    assert {entry["name"]: entry["status"] for entry in statuses} == {
        "sp500_prices": "READY",
        "sp500_index": "READY",
        "returns_1d": "READY",
        "momentum_12m": "READY",
        "relative_momentum": "READY",
        "max_utility": "READY",
        "return_model": "READY",
        "out_of_sample": "READY",
        "reversal_idea": "READY",
    }
    assert home.api_url.removesuffix("/api") in said.out


def test_the_instance_at_the_joint_ran_once(shown: Shown) -> None:
    (run,) = shown.joint

    assert {read["resource"]: read["generation"] for read in run["inputs"]} == {
        "momentum_12m": 1,
        "returns_1d": 1,
        "sp500_index": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("list",), {"instances"}),
        (("status", "demo/momentum_12m"), {"instances"}),
        (("lineage", "momentum_12m"), {"nodes", "edges"}),
        (("runs", "momentum_12m"), {"runs"}),
        (("doctor",), {"checks"}),
    ],
)
def test_json_is_the_only_thing_on_stdout(
    demo: LivingHome, arguments: tuple[str, ...], keys: set[str]
) -> None:
    said = demo.run(*arguments, "--json")

    assert (said.code, said.err) == (0, "")
    assert said.json.keys() == keys


def test_a_status_document_has_the_keys_that_tools_rely_on(demo: LivingHome) -> None:
    (entry,) = demo.run("status", "momentum_12m", "--json").json["instances"]

    top = {"id", "name", "project", "type", "lifecycle", "status", "reason", "freshness", "flows"}
    assert top <= entry.keys()
    keys = {"kind", "deployment_id", "status", "reason", "since", "generation", "last_data_date"}
    assert keys | {"next_due_at", "last_run_id", "blocked_by"} <= entry["flows"][0].keys()


def test_a_run_is_found_by_its_id(demo: LivingHome) -> None:
    (run, *_) = demo.run("runs", "momentum_12m", "--json").json["runs"]

    info = demo.run("run-info", run["id"], "--json").json

    assert (info["id"], info["instance"]) == (run["id"], "momentum_12m")


def test_lineage_is_drawn_with_the_joint_once(demo: LivingHome) -> None:
    lines = demo.run("lineage").out.splitlines()

    joints = [line for line in lines if line.lstrip("│├└─ ").startswith("relative_momentum")]
    assert [line.endswith("see above") for line in joints] == [False, True, True]


def test_applying_the_same_again_starts_no_flow(demo: LivingHome) -> None:
    before = flow_runs(demo, APPLIED)

    said = demo.run("apply", "-f", str(packaged_demo()), "--wait")

    assert said.code == 0
    assert "9 unchanged" in said.out
    assert flow_runs(demo, APPLIED) == before


def test_a_manifest_with_faults_changes_nothing_and_tells_each(
    demo: LivingHome, tmp_path: Path
) -> None:
    manifest = tmp_path / "bad.yaml"
    instances = [
        {"name": "1st", "type": "DatasetInstance", "pipeline": {"definition": "market_data"}},
        {"name": "b", "type": "Nothing"},
    ]
    manifest.write_text(json.dumps({"project": "demo", "instances": instances}))
    before = flow_runs(demo, APPLIED)

    said = demo.run("apply", "-f", str(manifest))

    assert said.code == 1
    assert len(said.err.splitlines()) >= 2
    assert "instances[0].name" in said.err
    assert "instances[1].type" in said.err
    assert flow_runs(demo, APPLIED) == before


def test_a_plan_starts_nothing(demo: LivingHome, tmp_path: Path) -> None:
    before = flow_runs(demo, APPLIED)

    said = demo.run("apply", "-f", str(breaking(tmp_path)), "--plan")

    assert said.code == 0
    assert "+ demo/too_high" in said.out
    assert flow_runs(demo, APPLIED) == before


def test_what_does_not_become_ready_is_told_with_its_exit_code(
    demo: LivingHome, tmp_path: Path
) -> None:
    """A signal breaks its contract: it fails, and who reads it waits for it."""
    applied = demo.run("apply", "-f", str(breaking(tmp_path)), "--wait")
    failed = demo.run("run", "too_high", "--wait")
    blocked = demo.run("run", "after_too_high", "--wait")
    refused = demo.run("delete", "too_high")
    removed = demo.run("delete", "too_high", "--cascade", "--purge")

    assert applied.code == 3
    assert "after_too_high is NOT_INITIALIZED: waits for too_high" in applied.err
    assert (failed.code, failed.err.count("\n")) == (1, 1)
    assert "above 1.0" in failed.err
    assert blocked.code == 3
    assert "UpstreamNotReady" in blocked.out
    assert refused.code == 1
    assert "after_too_high" in refused.err
    assert removed.code == 0
    names = {entry["name"] for entry in demo.run("list", "--json").json["instances"]}
    assert not {"too_high", "after_too_high"} & names


CHAIN = {
    "sp500_prices": [FlowKind.REFRESH],
    "returns_1d": [FlowKind.REFRESH],
    "momentum_12m": [FlowKind.REFRESH],
    "relative_momentum": [FlowKind.REFRESH],
    "return_model": [FlowKind.INFERENCE, FlowKind.MONITORING],
    "max_utility": [FlowKind.OPTIMIZE],
    "out_of_sample": [FlowKind.BACKTEST],
}
"""What new prices are to run, where weights are decided on new data too."""


@dataclass(frozen=True)
class Seen:
    """The demonstration at rest after a refresh of its prices."""

    settled: bool
    completed: Counter[tuple[str, str]]
    """How often each flow has succeeded."""
    dates: Mapping[str, str]
    behind: list[str]
    """What the last runs of the chain read that is not the newest."""


DAYS = ("2022-12-01", "2022-12-02")
"""The first session of a month decides new weights, the one after it keeps them."""


@pytest.fixture(scope="module")
def chain(shown: Shown) -> tuple[Counter[tuple[str, str]], list[Seen]]:
    """How often each flow had succeeded, and what was seen after new prices of each day.

    A test that refreshes single instances uses this too, so that the chain runs before it.
    """
    stack, seen = Stack(shown.home.path), []
    stack.apply(without_cadences(), "--wait")
    try:
        first = _completed(stack)
        for day in DAYS:
            stack.cli("run", "sp500_prices", "--as-of", day, "--wait", seconds=400)
            dates = {name: stack.flow(name)["last_data_date"] for name in CHAIN}
            seen.append(Seen(stack.settled("demo"), _completed(stack), dates, _find_behind(stack)))
    finally:
        stack.cli("apply", "-f", str(packaged_demo()), "--wait")
        stack.warm.close()
    return first, seen


def test_one_refresh_runs_the_whole_chain_once(
    demo: LivingHome, chain: tuple[Counter[tuple[str, str]], list[Seen]]
) -> None:
    first, seen = chain

    assert set(first.values()) == {1}, first
    expected = Counter(first)
    for day, after in zip(DAYS, seen, strict=True):
        expected.update((name, kind) for name, kinds in CHAIN.items() for kind in kinds)
        dates = {**dict.fromkeys(CHAIN, day), "max_utility": DAYS[0]}
        assert after == Seen(True, expected, dates, [])
    stack = Stack(demo.path)
    assert {run["status"] for name in CHAIN for run in stack.runs(name)} == {"completed"}


@pytest.mark.usefixtures("chain")
def test_a_run_with_wait_waits_for_the_cascade_too(demo: LivingHome) -> None:
    before = len(demo.run("runs", "relative_momentum", "--json").json["runs"])

    said = demo.run("run", "sp500_index", "--as-of", "2022-12-01", "--wait")

    assert said.code == 0, said
    assert len(demo.run("runs", "relative_momentum", "--json").json["runs"]) == before + 1


@pytest.mark.usefixtures("chain")
def test_every_snippet_of_the_python_page_runs(demo: LivingHome, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(snippets)],
        env={**demo.environment, "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert snippets
    assert done.returncode == 0, done.stderr
    assert "symbols[0]: there is no 'APPL', did you mean 'AAPL'?" in done.stdout
    assert "HistGradientBoostingRegressor" in done.stdout
    assert "data:image/png;base64," in (tmp_path / "backtest.html").read_text()
    assert "Plotly.newPlot" in (tmp_path / "momentum.html").read_text()
    assert "rank IC" in (tmp_path / "tear-sheet.html").read_text()


def test_up_where_all_is_up_starts_nothing(demo: LivingHome) -> None:
    before = demo.pids()

    said = demo.run("up", "--detach")

    assert said.code == 0
    assert "already up" in said.out
    assert demo.pids() == before


def test_doctor_names_what_is_wrong_and_up_brings_back_what_is_missing(demo: LivingHome) -> None:
    pool = f"{demo.api_url}/work_pools/instances"
    start, _ = automations(demo)
    sweep = httpx.get(f"{demo.api_url}/deployments/name/sweep-freshness/default").json()["id"]
    (entry,) = demo.run("status", "momentum_12m", "--json").json["instances"]
    httpx.patch(pool, json={"is_paused": True}).raise_for_status()
    try:
        # Each quarter of an hour a reconcile begins, which would mend what is deleted here.
        eventually(lambda: not flow_runs(demo, TAKEN), 60, "the end of what the worker took")
        off = httpx.patch(f"{demo.api_url}/automations/{start}", json={"enabled": False})
        off.raise_for_status()
        for deployment in (sweep, entry["flows"][0]["deployment_id"]):
            httpx.delete(f"{demo.api_url}/deployments/{deployment}").raise_for_status()
        sick = demo.run("doctor", "--json")
        applied = demo.run("apply", "-f", str(packaged_demo()))
    finally:
        httpx.patch(pool, json={"is_paused": False}).raise_for_status()
        httpx.patch(f"{demo.api_url}/automations/{start}", json={"enabled": True})
        demo.run("up", "--detach")

    found = {check["name"]: check["level"] for check in sick.json["checks"]}
    assert sick.code == 1
    assert (found["work pool"], found["automations"], found["deployments"]) == (
        "fail",
        "warn",
        "fail",
    )
    assert found["instances"] == "fail"
    assert [line.partition(";")[0] for line in applied.err.splitlines()] == [
        "instances: no deployment sweep-freshness/default: Prefect's database is new or was lost",
        "instances: no deployment in Prefect: demo/momentum_12m.refresh",
    ]
    assert demo.run("doctor").code == 0


def test_two_ups_at_once_restart_only_what_died_and_one_of_it(demo: LivingHome) -> None:
    server, worker = demo.pids()
    psutil.Process(worker).kill()
    died = demo.run("doctor")
    ups = [
        subprocess.Popen(
            [COMMAND, "up", "--detach"],
            env=demo.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]

    assert died.code == 1
    assert [up.wait(SECONDS) for up in ups] == [0, 0]
    assert demo.pid("server") == server
    assert demo.pid("worker") != worker
    leaders = [process for process in demo.processes() if os.getsid(process.pid) == process.pid]
    started = [
        p
        for p in leaders
        if {"start", "prefect_instances.libs.adapters.prefect.server"} & set(p.cmdline())
    ]
    assert sorted(process.pid for process in started) == sorted(demo.pids())
    assert demo.run("doctor").code == 0


def test_a_second_home_lives_beside_the_first_and_leaves_nothing(
    demo: LivingHome, tmp_path: Path, prefect_template: Path
) -> None:
    """Foreground, as a person has it: ready, Ctrl-C, gone."""
    other = LivingHome(tmp_path / "other")
    begin_migrated(other.path / "prefect" / DATABASE, prefect_template)
    before = demo.pids()
    with foreground(other, "--with", "evidently") as up:
        assert other.api_url != demo.api_url
        assert healthy(other)
        assert healthy(demo)
        pages = json.loads((other.path / "config.json").read_text())["evidently_ui_url"]
        assert known_to_evidently(pages) == set()
        up.send_signal(signal.SIGINT)
        assert up.wait(SECONDS) == 0
    assert other.processes() == []
    assert not healthy(other)
    assert not list((other.path / "run").glob("*.json"))
    assert demo.pids() == before
    assert healthy(demo)


@pytest.mark.thorough
def test_a_home_that_was_down_comes_back_on_its_port_whatever_its_records_say(
    tmp_path: Path, prefect_template: Path
) -> None:
    other = LivingHome(tmp_path / "other")
    begin_migrated(other.path / "prefect" / DATABASE, prefect_template)
    try:
        assert other.run("up", "--detach").code == 0
        port = other.api_url
        assert other.run("down").code == 0
        stale = {"role": "worker", "pid": os.getpid(), "created": 0.0}
        (other.path / "run" / "worker.json").write_text(json.dumps(stale))
        assert other.run("up", "--detach").code == 0
        assert other.api_url == port
        assert other.run("down").out == "worker stopped\nserver stopped\n"
    finally:
        other.run("down")
    assert other.processes() == []


def test_pages_are_served_where_links_lead_and_doctor_misses_them(demo: LivingHome) -> None:
    before = demo.pids()

    said = demo.run("up", "--detach", "--with", "mlflow,evidently")

    assert said.code == 0, said
    assert demo.pids() == before
    config = json.loads((demo.path / "config.json").read_text())
    shown = demo.run("show", "return_model", "--json").json
    handles, links = shown["handles"], shown["links"]
    for title, role in (("MLflow experiment", "mlflow"), ("Evidently project", "evidently")):
        address = config[f"{role}_ui_url"]
        assert address in said.out
        assert links[title].startswith(address)
    assert known_to_mlflow(config["mlflow_ui_url"], handles["mlflow_experiment_id"])
    assert handles["evidently_project_id"] in known_to_evidently(config["evidently_ui_url"])
    training = next(
        run
        for run in demo.run("runs", "return_model", "--json").json["runs"]
        if run["flow_kind"] == "training"
    )
    links = demo.run("run-info", training["id"], "--json").json["links"]
    run_id = training["metrics"]["mlflow_run"]
    assert links["MLflow run"].endswith(f"/runs/{run_id}")
    model = {"run_uuid": run_id, "path": "model/MLmodel"}
    assert httpx.get(f"{config['mlflow_ui_url']}/get-artifact", params=model).is_success

    pages = psutil.Process(demo.pid("mlflow"))
    pages.kill()
    pages.wait(SECONDS)
    missed = demo.run("doctor", "--json")
    details = [check["detail"] for check in missed.json["checks"]]
    assert any(detail.startswith("MLflow's pages died") for detail in details), details
    assert missed.code == 1
    assert demo.run("up", "--detach").code == 0
    assert json.loads((demo.path / "config.json").read_text()) == config
    assert known_to_mlflow(config["mlflow_ui_url"], handles["mlflow_experiment_id"])
    assert demo.run("doctor").code == 0


def purge_and_see_nothing_left(stack: Stack) -> None:
    """Delete all instances of the demonstration, with data, models and reports."""
    assert "demo/return_model" in _tracked(stack.home)
    assert _kept_files(stack.home)

    for source in ("sp500_prices", "sp500_index"):
        stack.cli("delete", source, "--cascade", "--purge", seconds=400)
    stack.warm.close()

    assert stack.statuses("demo") == {}
    assert "demo/return_model" not in _tracked(stack.home)
    assert _kept_files(stack.home) == set(), "purging left files"


def without_cadences() -> dict[str, Any]:
    """The manifest that ships without its cadences, and with an optimizer that follows the data."""
    manifest: dict[str, Any] = yaml.safe_load(packaged_demo().read_text())
    for instance in manifest["instances"]:
        instance.pop("schedule", None)
        if instance["name"] == "max_utility":
            for reference in instance["upstream_refs"]:
                del reference["triggers"]
    return manifest


def _completed(stack: Stack) -> Counter[tuple[str, str]]:
    """How often each flow has succeeded."""
    runs = [(name, run) for name in stack.statuses("demo") for run in stack.completed(name)]
    return Counter((name, run["flow_kind"]) for name, run in runs)


def _find_behind(stack: Stack) -> list[str]:
    """List what the last runs of the chain read that is not the newest version now."""
    found = []
    for name, kinds in CHAIN.items():
        for kind in kinds:
            runs = [run for run in stack.runs(name) if run["flow_kind"] == kind]
            for pin in runs[0]["inputs"]:
                flows = stack.instance(pin["resource"])["flows"]
                current = {flow["kind"]: flow["generation"] for flow in flows}
                if pin["generation"] != current[pin["flow_kind"]]:
                    found.append(f"{name}.{kind} read {pin}")
    return found


def _tracked(home: Path) -> str:
    """All that MLflow's database says."""
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as connection:
        return "\n".join(connection.iterdump())


def _kept_files(home: Path) -> set[Path]:
    """Data, models and reports on the disk, without the databases that index them."""
    folders = [home / name for name in ("stores", "mlflow", "evidently")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.parent not in folders}


def known_to_mlflow(address: str, experiment_id: str) -> bool:
    """Whether the API behind the pages finds an experiment."""
    path = f"{address}/api/2.0/mlflow/experiments/get"
    return httpx.get(path, params={"experiment_id": experiment_id}, timeout=30).is_success


def known_to_evidently(address: str) -> set[str]:
    """The projects that the API behind the pages knows."""
    answer = httpx.get(f"{address}/api/v2/projects", timeout=30)
    answer.raise_for_status()
    return {project["id"] for project in answer.json()}


class foreground:  # noqa: N801  # used as a statement
    """``instances up`` in the foreground of a terminal session of its own, ready when entered."""

    def __init__(self, home: LivingHome, *arguments: str) -> None:
        self.home, self.arguments = home, arguments
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [COMMAND, "up", *self.arguments],
            env=self.home.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell ignores it for what it runs in the background, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        output: IO[str] | None = self.process.stdout
        assert output is not None
        for line in output:
            if line.startswith("Ctrl-C"):
                return self.process
        pytest.fail(f"`instances up` ended with {self.process.wait()}")

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(SECONDS)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


def packaged_demo() -> Path:
    """The manifest that ships with the command line."""
    from prefect_instances import cli

    return Path(str(cli.__file__)).with_name("demo.yaml")


def breaking(folder: Path) -> Path:
    """A manifest of a signal that breaks its contract and a dataset that reads it."""
    high = {
        "name": "too_high",
        "type": "SignalInstance",
        "pipeline": {"definition": "expression", "config": {"expression": "close"}},
        "upstream_refs": [{"resource": "sp500_prices"}],
        "signal": {"max_value": 1},
    }
    after = {
        "name": "after_too_high",
        "type": "DatasetInstance",
        "pipeline": {"definition": "expression", "config": {"expression": "value * 2"}},
        "upstream_refs": [{"resource": "too_high"}],
    }
    path = folder / "breaking.yaml"
    path.write_text(json.dumps({"project": "demo", "instances": [high, after]}))
    return path


def healthy(home: LivingHome) -> bool:
    """Whether the home's server answers."""
    try:
        return httpx.get(f"{home.api_url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def automations(home: LivingHome) -> list[str]:
    """Ids of the project's automations."""
    answer = httpx.post(f"{home.api_url}/automations/filter", json={}, timeout=30)
    answer.raise_for_status()
    return [each["id"] for each in answer.json() if each["name"].startswith("instances: ")]


APPLIED = {"flows": {"name": {"any_": ["apply-manifest"]}}}
TAKEN = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}


def flow_runs(home: LivingHome, which: dict[str, Any]) -> int:
    """How many such runs the server knows."""
    answer = httpx.post(f"{home.api_url}/flow_runs/count", json=which, timeout=30)
    answer.raise_for_status()
    return int(answer.json())
