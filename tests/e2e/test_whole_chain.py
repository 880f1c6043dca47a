"""A new day from prices to a backtest: flows of every kind, each once, and no training."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_instances import cli
from prefect_instances.libs.core.status import FlowKind
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

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


def demonstration(project: str) -> dict[str, Any]:
    """The manifest that ships without its cadences, and with an optimizer that follows the data."""
    text = Path(str(cli.__file__)).with_name("demo.yaml").read_text()
    manifest: dict[str, Any] = {**yaml.safe_load(text), "project": project}
    for instance in manifest["instances"]:
        instance.pop("schedule", None)
        if instance["name"] == "max_utility":
            for reference in instance["upstream_refs"]:
                del reference["triggers"]
    return manifest


def test_one_refresh_runs_the_whole_chain_once_and_purging_leaves_nothing(
    stack: Stack, project: str
) -> None:
    files = _kept_files(stack.home)
    stack.apply(demonstration(project), "--wait")
    first = _completed(stack, project)
    assert set(first.values()) == {1}, first
    expected = Counter(first)

    # The first session of a month decides new weights, the one after it keeps them.
    for day in ("2022-12-01", "2022-12-02"):
        stack.cli("run", f"{project}/sp500_prices", "--as-of", day, "--wait", seconds=400)
        expected.update((name, kind) for name, kinds in CHAIN.items() for kind in kinds)

        assert stack.settled(project)
        assert _completed(stack, project) == expected
        assert {run["status"] for name in CHAIN for run in stack.runs(f"{project}/{name}")} == {
            "completed"
        }
        dates = {name: stack.flow(f"{project}/{name}")["last_data_date"] for name in CHAIN}
        assert dates == {**dict.fromkeys(CHAIN, day), "max_utility": "2022-12-01"}
        for name in CHAIN:
            _assert_read_the_newest(stack, project, name)

    assert project in _tracked(stack.home)
    for source in ("sp500_prices", "sp500_index"):
        stack.cli("delete", f"{project}/{source}", "--cascade", "--purge", seconds=400)
    assert stack.statuses(project) == {}
    assert project not in _tracked(stack.home)
    assert _kept_files(stack.home) - files == set()


def _completed(stack: Stack, project: str) -> Counter[tuple[str, str]]:
    """How often each flow of the project has succeeded."""
    names = stack.statuses(project)
    runs = [(name, run) for name in names for run in stack.completed(f"{project}/{name}")]
    return Counter((name, run["flow_kind"]) for name, run in runs)


def _assert_read_the_newest(stack: Stack, project: str, name: str) -> None:
    """Its last runs read the versions that are current now."""
    for kind in CHAIN[name]:
        runs = [run for run in stack.runs(f"{project}/{name}") if run["flow_kind"] == kind]
        for pin in runs[0]["inputs"]:
            flows = stack.instance(f"{project}/{pin['resource']}")["flows"]
            current = {flow["kind"]: flow["generation"] for flow in flows}
            assert pin["generation"] == current[pin["flow_kind"]], (name, kind, pin)


def _tracked(home: Path) -> str:
    """All that MLflow's database says."""
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as connection:
        return "\n".join(connection.iterdump())


def _kept_files(home: Path) -> set[Path]:
    """Data, models and reports on the disk, without the databases that index them."""
    folders = [home / name for name in ("stores", "mlflow", "evidently")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.parent not in folders}
