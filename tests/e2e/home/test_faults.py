"""Faults of real processes, each followed by convergence without a person."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import Resource, ResourceVersion
from prefect_instances.libs.services.state.ledger import utc_now
from prefect_instances.libs.services.views import explaining
from tests.e2e.stack import (
    Stack,
    eventually,
    expression,
    gated,
    market,
    on_postgresql,
    slow,
    write_rows,
)

pytestmark = pytest.mark.e2e

GONE = "9.9.9"
"""A version that is installed nowhere."""


def chain(project: str, folder: Path) -> dict[str, Any]:
    """source → first → second, and an unrelated one."""
    return {
        "project": project,
        "instances": [
            gated("source", folder),
            expression("first", "close * 2", "source"),
            expression("second", "value + 1", "first"),
            market("unrelated", source="sp500"),
        ],
    }


@on_postgresql
def test_a_killed_refresh_is_seen_retried_and_its_cascade_completes(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    write_rows(folder, 1.0)
    stack.apply(chain(project, folder), "--wait")
    write_rows(folder, 2.0)
    (folder / "hold").touch()
    began = (folder / "began").read_text().count("\n")
    stack.cli("run", f"{project}/source")
    eventually(lambda: (folder / "began").read_text().count("\n") > began, 60, "the run began")
    pid = stack.running_pid(stack.flow(f"{project}/source")["deployment_id"])

    psutil.Process(pid).send_signal(signal.SIGKILL)
    crashed = eventually(
        lambda: [r for r in stack.runs(f"{project}/source") if r["status"] == "crashed"],
        60,
        "the crash on record",
        pause=0.2,
    )
    seen = stack.flow(f"{project}/source")
    early = _freshness(stack, f"{project}/first")
    (folder / "hold").unlink()

    eventually(lambda: _arrived(stack, project, 2), 90, "the cascade after the retry")
    assert len(crashed) == 1
    assert seen["status"] in ("ERROR", "RUNNING")  # The retry may have begun already.
    assert early["upstreams"][0]["blocking"] is True
    assert stack.settled(project)
    assert len(stack.completed(f"{project}/first")) == 2
    assert stack.runs(f"{project}/source")[0]["status"] == "completed"


def _arrived(stack: Stack, project: str, generation: int) -> bool:
    names = ("source", "first", "second")
    flows = [stack.flow(f"{project}/{name}") for name in names]
    return all(f["status"] == "READY" and f["generation"] == generation for f in flows)


@pytest.mark.thorough
@on_postgresql
def test_a_refresh_that_keeps_failing_blocks_only_its_descendants_until_it_is_mended(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    write_rows(folder, 1.0)
    stack.apply(chain(project, folder), "--wait")
    (folder / "fail").write_text("the vendor sent an empty file")

    for _ in range(2):
        failed = stack.cli("run", f"{project}/source", "--wait", code=None)
        assert failed.code == 1
        assert "the vendor sent an empty file" in failed.err
    broken = stack.flow(f"{project}/source")
    waiting = stack.cli("run", f"{project}/first", "--wait", code=None)
    blocked = _freshness(stack, f"{project}/first")["upstreams"][0]
    unrelated = stack.cli("run", f"{project}/unrelated", "--wait")
    (folder / "fail").unlink()
    write_rows(folder, 3.0)
    stack.cli("run", f"{project}/source", "--wait")

    assert (broken["status"], broken["reason"]) == ("ERROR", "RunFailed")
    assert "the vendor sent an empty file" in broken["message"]
    assert waiting.code == 3
    assert blocked["blocking"] is True
    assert "empty file" in blocked["message"]
    assert unrelated.code == 0
    assert stack.settled(project)


@on_postgresql
def test_everything_killed_in_mid_cascade_completes_after_up(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    write_rows(folder, 1.0)
    stack.apply(
        {
            "project": project,
            "instances": [
                gated("source", folder),
                slow("first", 2.0, "source"),
                slow("left", 1.0, "first"),
                slow("right", 0.5, "first"),
                slow("sink", 0.1, "left", "right"),
            ],
        },
        "--wait",
    )
    write_rows(folder, 2.0)
    stack.cli("run", f"{project}/source")
    eventually(
        lambda: stack.flow(f"{project}/first")["status"] == "RUNNING", 60, "mid-cascade", pause=0.2
    )

    killed = stack.kill_everything()
    stack.up()
    eventually(lambda: _all_at(stack, project, 2), 150, "the cascade after the restart")

    assert killed >= 3
    assert stack.settled(project)
    for name in ("source", "first", "left", "right", "sink"):
        runs = stack.completed(f"{project}/{name}")
        vectors = [
            tuple(sorted((pin["resource"], pin["generation"]) for pin in run["inputs"]))
            for run in runs
            if run["cause"] == "gate"
        ]
        assert len(vectors) == len(set(vectors)), (name, vectors)
        assert not [run for run in stack.runs(f"{project}/{name}") if run["status"] == "running"]


def _all_at(stack: Stack, project: str, generation: int) -> bool:
    flows = stack.flows(project).values()
    return all(f["status"] == "READY" and f["generation"] == generation for f in flows)


def _freshness(stack: Stack, name: str) -> dict[str, Any]:
    return explaining.freshness(stack.database, utc_now(), name)


@contextmanager
def pinned_to(stack: Stack, version: str, name: str) -> Iterator[None]:
    """The instances that use a definition keep to another version of it meanwhile."""

    def pin(label: str) -> str:
        def work(session: Session) -> str:
            definition = session.scalars(select(Resource).filter_by(name=name)).one()
            [row] = session.scalars(
                select(ResourceVersion).filter_by(resource_id=definition.id)
            ).all()
            before, row.label = row.label, label
            return before

        return stack.database.transact(work)

    before = pin(version)
    try:
        yield
    finally:
        pin(before)


@on_postgresql
def test_an_instance_whose_definition_is_gone_says_so_and_others_go_on(
    stack: Stack, project: str
) -> None:
    stack.apply(
        {
            "project": project,
            "instances": [
                market("prices"),
                slow("lost", 0.1, "prices"),
                expression("kept", "close * 2", "prices"),
            ],
        },
        "--wait",
    )
    with pinned_to(stack, GONE, "slow_sum"):
        stack.cli("run", f"{project}/prices", "--as-of", "2022-12-01")
        lost = eventually(
            lambda: [f for f in [stack.flow(f"{project}/lost")] if f["status"] == "ERROR"],
            60,
            "the loss told",
        )[0]
        eventually(
            lambda: stack.flow(f"{project}/kept")["last_data_date"] == "2022-12-01", 60, "the rest"
        )
        assert lost["reason"] == "DefinitionUnavailable"
        assert f"slow_sum {GONE}" in lost["message"]
        assert stack.statuses(project) == {"prices": "READY", "kept": "READY", "lost": "ERROR"}
        assert lost["generation"] == 1

    stack.cli("run", f"{project}/lost", "--wait")
    assert stack.settled(project)
    assert stack.flow(f"{project}/lost")["generation"] == 2
    assert {run["status"] for run in stack.runs(f"{project}/lost")} == {"completed"}
