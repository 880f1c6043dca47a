"""Cascades through real processes: once per refresh, on matching inputs, never without cause."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prefect_instances.libs.services.state.ledger import utc_now
from tests.e2e.stack import (
    Stack,
    eventually,
    expression,
    gated,
    market,
    on_postgresql,
    packaged_days,
    slow,
    write_rows,
)

pytestmark = pytest.mark.e2e

ROUNDS = 2


def diamond(project: str) -> dict[str, Any]:
    """prices → returns, momentum → score, which also reads the index."""
    score = expression(
        "score",
        "ZSCORE(momentum) + ret - (market / REF(market, 1) - 1)",
        {"resource": "momentum", "role": "momentum"},
        {"resource": "returns", "role": "returns"},
        {"resource": "index", "role": "market"},
        inputs={
            "momentum": {"role": "momentum", "column": "value"},
            "ret": {"role": "returns", "column": "value"},
            "market": {"role": "market", "column": "close", "symbol": "SP500"},
        },
    )
    momentum = {
        **expression("momentum", "DELTA(close, 20) / REF(close, 20)", "prices"),
        "type": "SignalInstance",
        "signal": {"min_value": -1.0, "max_value": 2.0},
    }
    return {
        "project": project,
        "instances": [
            market("prices"),
            market("index", source="sp500", end_date="2022-12-28"),
            expression("returns", "close / REF(close, 1) - 1", "prices"),
            momentum,
            score,
        ],
    }


@on_postgresql
def test_each_round_runs_every_descendant_once_on_the_new_inputs(
    stack: Stack, project: str
) -> None:
    stack.apply(diamond(project), "--wait")
    names = ["prices", "returns", "momentum", "score"]
    first = {name: len(stack.runs(f"{project}/{name}")) for name in names}

    for round_, day in enumerate(packaged_days("2022-11-30")[:ROUNDS], start=1):
        stack.cli("run", f"{project}/prices", "--as-of", day, "--wait")

        assert stack.settled(project)
        for name in names:
            runs = stack.runs(f"{project}/{name}")
            assert len(runs) == first[name] + round_, (round_, name)
            assert runs[0]["status"] == "completed"
            assert stack.flow(f"{project}/{name}")["last_data_date"] == day
        read = {pin["resource"]: pin for pin in stack.runs(f"{project}/score")[0]["inputs"]}
        for upstream in ("momentum", "returns"):
            newest = stack.runs(f"{project}/{upstream}")[0]
            assert read[upstream]["version"] == newest["output_version"]
            assert read[upstream]["generation"] == round_ + 1
        assert read["index"]["generation"] == 1
    assert {run["cause"] for run in stack.runs(f"{project}/score")} == {"gate"}


@pytest.mark.thorough
@on_postgresql
def test_a_refresh_without_news_runs_nothing_downstream(stack: Stack, project: str) -> None:
    stack.apply(diamond(project), "--wait")
    names = ["returns", "momentum", "score", "index"]
    before = {name: len(stack.runs(f"{project}/{name}")) for name in names}

    stack.cli("run", f"{project}/prices", "--wait")

    assert stack.settled(project)
    assert {name: len(stack.runs(f"{project}/{name}")) for name in names} == before
    newest = stack.runs(f"{project}/prices")[0]
    assert (newest["status"], newest["cause"]) == ("completed", "manual")


@on_postgresql
def test_an_unbalanced_diamond_under_overlapping_refreshes_never_mixes(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    """A→B→D, A→C→C2→D: refreshes of A overtake each other; D reads one A, and the last one wins."""
    folder = tmp_path / "source"
    write_rows(folder, 0.0)
    stack.apply(
        {
            "project": project,
            "instances": [
                gated("a", folder),
                slow("b", 0.2, "a"),
                slow("c", 0.8, "a"),
                slow("c2", 0.8, "c"),
                slow("d", 0.1, "b", "c2"),
            ],
        },
        "--wait",
    )
    refreshes = 5
    for value in range(1, refreshes + 1):
        write_rows(folder, float(value))
        written = utc_now()
        stack.cli("run", f"{project}/a")
        eventually(partial(_has_read, stack, project, written), 60, "A read the rows")

    eventually(lambda: _caught_up(stack, project, written), 180, "D on the last A")
    assert stack.settled(project)
    origin = _origins(stack, project)
    for run in stack.completed(f"{project}/d"):
        sources = {origin[pin["version"]] for pin in run["inputs"]}
        assert len(sources) == 1, (run, origin)
    vectors = [
        tuple(sorted((pin["resource"], pin["generation"]) for pin in run["inputs"]))
        for run in stack.completed(f"{project}/d")
    ]
    assert len(vectors) == len(set(vectors)), "an input vector was run twice"


def _has_read(stack: Stack, project: str, written: datetime) -> bool:
    """A run of A that began after the rows were written has published; those below it are busy."""
    newest = stack.completed(f"{project}/a")[0]
    return datetime.fromisoformat(newest["started_at"]) > written


def _caught_up(stack: Stack, project: str, written: datetime) -> bool:
    """All READY, by a run of A that began after the last rows were written.

    A slow machine may merge requests for A, so that its runs are not counted.
    """
    newest_a, newest_b = (stack.completed(f"{project}/{name}")[0] for name in "ab")
    return (
        _has_read(stack, project, written)
        and newest_b["inputs"][0]["version"] == newest_a["output_version"]
        and stack.settled(project)
    )


def _origins(stack: Stack, project: str) -> dict[str, int]:
    """Output version → the generation of A that it comes from."""
    origin: dict[str, int] = defaultdict(int)
    for generation, run in enumerate(reversed(stack.completed(f"{project}/a")), start=1):
        origin[run["output_version"]] = generation
    for name in ("b", "c", "c2"):
        for run in reversed(stack.completed(f"{project}/{name}")):
            origin[run["output_version"]] = origin[run["inputs"][0]["version"]]
    return origin


@pytest.mark.thorough
@on_postgresql
def test_a_downstream_started_too_early_by_a_persons_automation_waits(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    """A person's automation on Completed runs of A starts D, whose other upstream is still busy."""
    folder = tmp_path / "source"
    write_rows(folder, 0.0)
    stack.apply(
        {
            "project": project,
            "instances": [
                gated("a", folder),
                slow("b", 3.0, "a"),
                slow("d", 0.1, "a", "b"),
                # Reads nothing of A: only the person's automation makes it run after A.
                market("report", source="sp500"),
            ],
        },
        "--wait",
    )
    deployments = {n: stack.flow(f"{project}/{n}")["deployment_id"] for n in ("a", "d", "report")}
    for target in ("d", "report"):
        stack.post(
            "/automations/", _used_by(project, deployments["a"], deployments[target], target)
        )
    before = len(stack.runs(f"{project}/report"))
    write_rows(folder, 1.0)
    stack.cli("run", f"{project}/a", "--wait")

    eventually(lambda: len(stack.runs(f"{project}/report")) > before, 60, "the used-by run")
    early = eventually(
        lambda: [
            run["id"]
            for run in stack.post(
                "/flow_runs/filter", {"deployments": {"id": {"any_": [deployments["d"]]}}}
            )
            if run["state_name"] == "UpstreamNotReady"
        ],
        60,
        "the early run of D",
    )
    eventually(lambda: stack.settled(project), 60, "all READY")
    newest = stack.completed(f"{project}/d")[0]
    read = {pin["resource"]: pin["version"] for pin in newest["inputs"]}

    tables = stack.post(
        "/artifacts/filter",
        {"artifacts": {"flow_run_id": {"any_": early[:1]}, "type": {"any_": ["table"]}}},
    )
    assert [table["key"] for table in tables] == [f"freshness-{project}-d"]
    blocks = {row["upstream"]: row["blocks"] for row in json.loads(tables[0]["data"])}
    assert blocks["b.refresh"] == "yes"
    assert read["b"] == stack.completed(f"{project}/b")[0]["output_version"]
    assert read["a"] == stack.completed(f"{project}/a")[0]["output_version"]


def _used_by(project: str, upstream: str, downstream: str, name: str) -> dict[str, Any]:
    return {
        "name": f"{project}: a person's own, starts {name}",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Reactive",
            "expect": ["prefect.flow-run.Completed"],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {
                "prefect.resource.id": f"prefect.deployment.{upstream}",
                "prefect.resource.role": "deployment",
            },
            "threshold": 1,
            "within": 0,
        },
        "actions": [{"type": "run-deployment", "source": "selected", "deployment_id": downstream}],
    }
