"""Jobs outside: a repeated run continues with the job that is there, also after SIGKILL."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.status import FlowStatus, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import ExternalJob, FlowExecutionResource, RunRecord
from prefect_instances.libs.definitions.external_job import ExternalJobFailed
from prefect_instances.libs.services.runs.rerun import rerun
from tests.databases import on_both_databases
from tests.example.src.example_definitions.jobs import RemoteWalk
from tests.integration.bench import Bench, make_bench, write_instance

WAIT_SECONDS = 60
ROWS = [{"date": "2024-01-02", "symbol": "A", "close": 1.5}]


class JobService:
    """A job server over HTTP, whose jobs end when a test says so."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.state, self.breaks_after_submission = "SUCCEEDED", False
        self.submitted = threading.Event()
        handler = type("Handler", (_Handler,), {"service": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def ids(self) -> list[str]:
        return [job["id"] for job in self.jobs.values()]

    def put(self, token: str, work: dict[str, Any]) -> dict[str, Any] | None:
        known = self.jobs.get(token)
        job = known or {"id": f"job-{len(self.jobs)}", "work": work, "submissions": 0}
        job["submissions"] += 1
        self.jobs[token] = job
        self.submitted.set()
        broken, self.breaks_after_submission = self.breaks_after_submission, False
        return None if broken else job

    def find(self, job_id: str) -> dict[str, Any] | None:
        return next((job for job in self.jobs.values() if job["id"] == job_id), None)


class _Handler(BaseHTTPRequestHandler):
    service: JobService

    def do_PUT(self) -> None:
        work = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(self.service.put(self.path.split("/")[2], work))

    def do_GET(self) -> None:
        job = self.service.find(self.path.split("/")[2])
        if self.path.endswith("/rows"):
            self._answer(ROWS)
        elif job is None:
            self.send_error(404)
        else:
            self._answer({"state": job.get("state", self.service.state)})

    def do_DELETE(self) -> None:
        job = self.service.find(self.path.split("/")[2])
        assert job is not None
        job["state"] = "FAILED"
        self._answer(job)

    def _answer(self, body: Any) -> None:
        if body is None:
            self.send_error(500)
            return
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing."""


@pytest.fixture
def service() -> Iterator[JobService]:
    running = JobService()
    yield running
    running.server.shutdown()
    running.server.server_close()


def with_walks(bench: Bench) -> Bench:
    """The same services, which know the definition."""
    registry = bench.services.registry.extended([RemoteWalk])
    return Bench(replace(bench.services, registry=registry))


@pytest.fixture
def walking(bench: Bench, project: str, service: JobService) -> Bench:
    """An instance ``walk`` whose work is done by the job server."""
    knowing = with_walks(bench)
    config = {"url": service.url, "symbols": ["A"]}
    write_instance(
        knowing,
        {
            "name": "walk",
            "project": project,
            "type": "DatasetInstance",
            "pipeline": {"definition": "remote_walk", "config": config},
        },
    )
    return knowing


def run_and_wait(database_url: str, api_url: str, home: str) -> None:
    """Run the instance in this process, as a worker's child does."""
    database = Database(database_url)
    with_walks(make_bench(database, PrefectGateway.connect(api_url), Path(home))).run("walk")


def flow(bench: Bench) -> FlowExecutionResource:
    with bench.services.database.read() as session:
        return session.get_one(FlowExecutionResource, bench.flow_id("walk"))


def records(bench: Bench) -> list[ExternalJob]:
    with bench.services.database.read() as session:
        return list(session.scalars(select(ExternalJob)))


def last_run(bench: Bench) -> RunRecord:
    with bench.services.database.read() as session:
        query = select(RunRecord).order_by(RunRecord.started_at.desc()).limit(1)
        return session.scalars(query).one()


@on_both_databases
def test_a_run_whose_process_was_killed_is_continued_with_its_job(
    walking: Bench, service: JobService, prefect_api_url: str, tmp_path: Path
) -> None:
    service.state = "RUNNING"
    where = (walking.services.settings.database_url, prefect_api_url, str(tmp_path))
    process = multiprocessing.get_context("spawn").Process(target=run_and_wait, args=where)
    process.start()
    assert service.submitted.wait(WAIT_SECONDS)
    while not (records(walking) and records(walking)[0].job_id):
        assert process.is_alive()
    process.kill()
    process.join()
    killed = last_run(walking)
    walking.services.ledger.end_badly(killed.id, RunStatus.CRASHED, "killed")

    service.state = "SUCCEEDED"
    walking.run("walk")

    assert [job["submissions"] for job in service.jobs.values()] == [1]
    assert (flow(walking).status, flow(walking).generation) == (FlowStatus.READY, 1)
    assert last_run(walking).metrics["external_job_walk"] == "job-0"
    assert records(walking) == []


def test_after_a_success_the_work_is_submitted_anew(walking: Bench, service: JobService) -> None:
    walking.run("walk")
    walking.run("walk")
    assert service.ids == ["job-0", "job-1"]
    assert flow(walking).generation == 1
    rerun(walking.services, last_run(walking).id, uuid4())
    assert service.ids == ["job-0", "job-1", "job-2"]
    assert records(walking) == []


def test_a_submission_whose_answer_was_lost_is_repeated_with_its_token(
    walking: Bench, service: JobService
) -> None:
    service.breaks_after_submission = True
    with pytest.raises(Exception, match="500 Internal Server Error"):
        walking.run("walk")
    walking.run("walk")
    assert [job["submissions"] for job in service.jobs.values()] == [2]
    assert flow(walking).status is FlowStatus.READY


def test_a_job_that_failed_fails_the_run_and_the_next_one_submits_anew(
    walking: Bench, service: JobService
) -> None:
    service.state = "FAILED"
    with pytest.raises(ExternalJobFailed, match="job job-0 of JobServer failed"):
        walking.run("walk")
    assert (flow(walking).status, records(walking)) == (FlowStatus.ERROR, [])
    service.state = "SUCCEEDED"
    walking.run("walk")
    assert service.ids == ["job-0", "job-1"]
    assert flow(walking).status is FlowStatus.READY


def left_alone(walking: Bench, service: JobService) -> None:
    """Leave a job that runs, and a run that failed while it waited."""
    service.state = "NONSENSE"
    with pytest.raises(ValueError, match="NONSENSE"):
        walking.run("walk")
    assert [job.job_id for job in records(walking)] == ["job-0"]
    service.state = "SUCCEEDED"


def test_a_run_that_failed_while_it_waited_is_continued(
    walking: Bench, service: JobService
) -> None:
    left_alone(walking, service)
    walking.run("walk")
    assert service.ids == ["job-0"]


@pytest.mark.parametrize("changed", [{"force": True}, {"as_of": date(2024, 1, 2)}])
def test_other_work_cancels_the_job_and_is_submitted_anew(
    walking: Bench, service: JobService, changed: dict[str, Any]
) -> None:
    left_alone(walking, service)
    walking.run("walk", **changed)
    assert service.ids == ["job-0", "job-1"]
    cancelled = service.find("job-0")
    assert cancelled is not None
    assert cancelled["state"] == "FAILED"
    assert last_run(walking).metrics["external_job_walk"] == "job-1"


def test_a_job_that_the_system_has_lost_is_submitted_anew_at_once(
    walking: Bench, service: JobService
) -> None:
    left_alone(walking, service)
    service.jobs = {"lost": {**service.jobs.popitem()[1], "id": "another"}}
    walking.run("walk")
    assert service.ids == ["another", "job-1"]
    assert last_run(walking).metrics["external_job_walk"] == "job-1"


def test_a_run_that_was_taken_over_neither_waits_nor_publishes(
    walking: Bench, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.state = "RUNNING"
    put = service.put

    def put_late(token: str, work: dict[str, Any]) -> dict[str, Any] | None:
        job = put(token, work)
        database = walking.services.database

        def take_over(session: Any) -> None:
            session.scalars(select(ExternalJob)).one().token = uuid4()

        database.transact(take_over)
        return job

    monkeypatch.setattr(service, "put", put_late)
    with pytest.raises(Interrupted, match="has taken over the job 'walk'"):
        walking.run("walk")
    cancelled = service.find("job-0")
    assert cancelled is not None
    assert cancelled["state"] == "FAILED"
    assert flow(walking).generation == 0
