"""What starts, restores and ends the processes of a home: ``up``, ``down`` and ``doctor``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from prefect_instances.cli.runtime.processes import wait_for_ends
from tests.e2e.demonstration import DEMO
from tests.e2e.stack import BIN, Stack, settings_of_others
from tests.patience import eventually
from tests.prefect_server import DATABASE, begin_migrated

pytestmark = pytest.mark.e2e

COMMAND = BIN / "instances"
SECONDS = 400.0
TAKEN = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}


@pytest.fixture(scope="module")
def pages(stack: Stack) -> dict[str, str]:
    """What the home remembers once it also serves the pages of MLflow and Evidently."""
    before = pids(stack)
    said = stack.cli("up", "--detach", "--with", "mlflow,evidently")
    assert pids(stack) == before
    remembered = read_config(stack)
    assert remembered["mlflow_ui_url"] in said.out
    assert remembered["evidently_ui_url"] in said.out
    return remembered


def test_up_where_all_is_up_starts_nothing(stack: Stack) -> None:
    before = pids(stack)

    said = stack.cli("up", "--detach")

    assert "already up" in said.out
    assert pids(stack) == before


def test_pages_are_served_where_links_lead(demo: Stack, pages: dict[str, str]) -> None:
    mlflow, evidently = pages["mlflow_ui_url"], pages["evidently_ui_url"]
    shown = demo.cli("show", "return_model", "--json").json
    handles, links = shown["handles"], shown["links"]
    training = next(run for run in demo.runs("return_model") if run["flow_kind"] == "training")
    info = demo.cli("run-info", training["id"], "--json").json
    run_id = training["metrics"]["mlflow_run"]

    assert links["MLflow experiment"].startswith(mlflow)
    assert links["Evidently project"].startswith(evidently)
    assert known_to_mlflow(mlflow, handles["mlflow_experiment_id"])
    assert handles["evidently_project_id"] in known_to_evidently(evidently)
    assert info["links"]["MLflow run"].endswith(f"/runs/{run_id}")
    model = {"run_uuid": run_id, "path": "model/MLmodel"}
    assert httpx.get(f"{mlflow}/get-artifact", params=model).is_success


def test_doctor_names_what_is_wrong_and_two_ups_at_once_bring_back_what_is_missing(
    demo: Stack, pages: dict[str, str]
) -> None:
    pool = f"{demo.api_url}/work_pools/instances"
    start, _ = automations(demo)
    sweep = httpx.get(f"{demo.api_url}/deployments/name/sweep-freshness/default").json()["id"]
    momentum = demo.flow("demo/momentum_12m")["deployment_id"]
    server, worker = pids(demo)
    httpx.patch(pool, json={"is_paused": True}).raise_for_status()
    try:
        # Each quarter of an hour a reconcile begins, which would mend what is deleted here.
        eventually(lambda: not demo.count_runs(TAKEN), 60, "the end of what the worker took")
        off = httpx.patch(f"{demo.api_url}/automations/{start}", json={"enabled": False})
        off.raise_for_status()
        for deployment in (sweep, momentum):
            httpx.delete(f"{demo.api_url}/deployments/{deployment}").raise_for_status()
        kill(worker, demo.pid("mlflow"))
        sick = demo.cli("doctor", "--json", code=1)
        applied = demo.cli("apply", "-f", str(DEMO))
    finally:
        httpx.patch(pool, json={"is_paused": False}).raise_for_status()
        httpx.patch(f"{demo.api_url}/automations/{start}", json={"enabled": True})
        ends = two_ups_at_once(demo)

    checks = sick.json["checks"]
    found = {check["name"]: check["level"] for check in checks}
    wanted = ("work pool", "automations", "deployments", "instances")
    assert [found[name] for name in wanted] == ["fail", "warn", "fail", "fail"]
    died = [check["detail"].partition(" died")[0] for check in checks if " died" in check["detail"]]
    assert died == ["MLflow's pages", "the worker"]
    assert [line.partition(";")[0] for line in applied.err.splitlines()] == [
        "instances: no deployment sweep-freshness/default: Prefect's database is new or was lost",
        "instances: no deployment in Prefect: demo/momentum_12m.refresh",
    ]

    assert ends == [0, 0]
    assert demo.pid("server") == server
    assert demo.pid("worker") != worker
    assert sorted(leaders(demo)) == sorted(pids(demo))
    assert read_config(demo) == pages
    model = demo.cli("show", "return_model", "--json").json
    assert known_to_mlflow(pages["mlflow_ui_url"], model["handles"]["mlflow_experiment_id"])
    demo.cli("doctor")


def test_a_second_home_lives_beside_the_first_and_leaves_nothing(
    stack: Stack, other: Stack
) -> None:
    """Foreground, as a person has it: ready, Ctrl-C, gone."""
    before = pids(stack)
    with foreground(other) as up:
        assert other.api_url != stack.api_url
        assert healthy(other)
        assert healthy(stack)
        up.send_signal(signal.SIGINT)
        assert up.wait(SECONDS) == 0
    assert other.processes() == []
    assert not healthy(other)
    assert not list((other.home / "run").glob("*.json"))
    assert pids(stack) == before
    assert healthy(stack)


@pytest.mark.thorough
def test_a_home_that_was_down_comes_back_on_its_port_whatever_its_records_say(
    other: Stack,
) -> None:
    try:
        other.cli("up", "--detach", "--with", "evidently")
        port = other.api_url
        assert known_to_evidently(read_config(other)["evidently_ui_url"]) == set()
        ended = other.cli("down").out.splitlines()
        assert ended == ["worker stopped", "evidently stopped", "server stopped"]
        stale = {"role": "worker", "pid": os.getpid(), "created": 0.0}
        (other.home / "run" / "worker.json").write_text(json.dumps(stale))
        other.up()
        assert other.api_url == port
        assert other.cli("down").out == "worker stopped\nserver stopped\n"
    finally:
        other.down()
    assert other.processes() == []


@pytest.fixture
def other(tmp_path: Path, prefect_template: Path) -> Stack:
    """A second home, in which nothing runs."""
    home = tmp_path / "other"
    begin_migrated(home / "prefect" / DATABASE, prefect_template)
    return Stack(home, more=settings_of_others(home))


def pids(stack: Stack) -> tuple[int, int]:
    """Process ids of server and worker."""
    return stack.pid("server"), stack.pid("worker")


def leaders(stack: Stack) -> list[int]:
    """Process ids of every server and worker that began a session, recorded or not."""
    starts = {"start", "prefect_instances.libs.adapters.prefect.server"}
    found = [one for one in stack.processes() if os.getsid(one.pid) == one.pid]
    return [one.pid for one in found if starts & set(one.cmdline())]


def kill(*ids: int) -> None:
    """Kill processes, and wait until they have ended."""
    victims = [psutil.Process(id_) for id_ in ids]
    for process in victims:
        process.kill()
    assert not wait_for_ends(victims, 20)


def two_ups_at_once(stack: Stack) -> list[int]:
    """Start both as a person does, and return how they ended."""
    command = [COMMAND, "up", "--detach"]
    quiet = subprocess.DEVNULL
    ups = [
        subprocess.Popen(command, env=stack.environment, stdout=quiet, stderr=quiet)
        for _ in range(2)
    ]
    return [up.wait(SECONDS) for up in ups]


@contextmanager
def foreground(home: Stack) -> Iterator[subprocess.Popen[str]]:
    """``instances up`` in the foreground of a terminal session of its own, ready when entered."""
    with subprocess.Popen(
        [COMMAND, "up"],
        env=home.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell ignores it for what it runs in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as up:
        assert up.stdout is not None
        try:
            if not any(line.startswith("Ctrl-C") for line in up.stdout):
                pytest.fail(f"`instances up` ended with {up.wait()}")
            yield up
        finally:
            up.terminate()
            up.wait(SECONDS)


def read_config(stack: Stack) -> dict[str, str]:
    """What the home remembers of its choices."""
    remembered: dict[str, str] = json.loads((stack.home / "config.json").read_text())
    return remembered


def known_to_mlflow(address: str, experiment_id: str) -> bool:
    """Whether the API behind the pages finds an experiment."""
    path = f"{address}/api/2.0/mlflow/experiments/get"
    return httpx.get(path, params={"experiment_id": experiment_id}, timeout=30).is_success


def known_to_evidently(address: str) -> set[str]:
    """The projects that the API behind the pages knows."""
    answer = httpx.get(f"{address}/api/v2/projects", timeout=30)
    answer.raise_for_status()
    return {project["id"] for project in answer.json()}


def healthy(home: Stack) -> bool:
    """Whether the home's server answers."""
    try:
        return httpx.get(f"{home.api_url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def automations(stack: Stack) -> list[str]:
    """Ids of the project's automations."""
    found = stack.post("/automations/filter", {})
    return [each["id"] for each in found if each["name"].startswith("instances: ")]
