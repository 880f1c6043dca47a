"""The demonstration: what it leaves, what commands say of it, and how new prices go through it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_instances.libs.core.status import FlowKind
from tests.e2e.demonstration import DEMO, Shown
from tests.e2e.stack import REPOSITORY, Stack

pytestmark = pytest.mark.e2e

APPLIED = {"flows": {"name": {"any_": ["apply-manifest"]}}}


def test_demo_ends_with_every_instance_ready(shown: Shown) -> None:
    assert shown.said.code == 0, shown.said
    assert shown.statuses == {
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
    assert shown.api_url.removesuffix("/api") in shown.said.out


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
    demo: Stack, arguments: tuple[str, ...], keys: set[str]
) -> None:
    said = demo.cli(*arguments, "--json")

    assert said.err == ""
    assert said.json.keys() == keys


def test_a_status_document_has_the_keys_that_tools_rely_on(demo: Stack) -> None:
    (entry,) = demo.cli("status", "momentum_12m", "--json").json["instances"]

    top = {"id", "name", "project", "type", "lifecycle", "status", "reason", "freshness", "flows"}
    assert top <= entry.keys()
    keys = {"kind", "deployment_id", "status", "reason", "since", "generation", "last_data_date"}
    assert keys | {"next_due_at", "last_run_id", "blocked_by"} <= entry["flows"][0].keys()


def test_a_run_is_found_by_its_id(demo: Stack) -> None:
    (run, *_) = demo.cli("runs", "momentum_12m", "--json").json["runs"]

    info = demo.cli("run-info", run["id"], "--json").json

    assert (info["id"], info["instance"]) == (run["id"], "momentum_12m")


def test_lineage_is_drawn_with_the_joint_once(demo: Stack) -> None:
    lines = demo.cli("lineage").out.splitlines()

    names = [line.lstrip("│├└─ ").removeprefix("demo/") for line in lines]
    joints = [name for name in names if name.startswith("relative_momentum")]
    assert [name.endswith("see above") for name in joints] == [False, True, True]


def test_applying_the_same_again_starts_no_flow(demo: Stack) -> None:
    before = demo.count_runs(APPLIED)

    said = demo.cli("apply", "-f", str(DEMO), "--wait")

    assert "9 unchanged" in said.out
    assert demo.count_runs(APPLIED) == before


def test_a_manifest_with_faults_changes_nothing_and_tells_each(demo: Stack, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    instances = [
        {"name": "1st", "type": "DatasetInstance", "pipeline": {"definition": "market_data"}},
        {"name": "b", "type": "Nothing"},
    ]
    manifest.write_text(json.dumps({"project": "demo", "instances": instances}))
    before = demo.count_runs(APPLIED)

    said = demo.cli("apply", "-f", str(manifest), code=1)

    assert len(said.err.splitlines()) >= 2
    assert "instances[0].name" in said.err
    assert "instances[1].type" in said.err
    assert demo.count_runs(APPLIED) == before


def test_a_plan_starts_nothing(demo: Stack, tmp_path: Path) -> None:
    before = demo.count_runs(APPLIED)

    said = demo.cli("apply", "-f", str(breaking(tmp_path)), "--plan")

    assert "+ demo/too_high" in said.out
    assert demo.count_runs(APPLIED) == before


def test_what_does_not_become_ready_is_told_with_its_exit_code(demo: Stack, tmp_path: Path) -> None:
    """A signal breaks its contract: it fails, and who reads it waits for it."""
    applied = demo.cli("apply", "-f", str(breaking(tmp_path)), "--wait", code=3)
    failed = demo.cli("run", "too_high", "--wait", code=1)
    blocked = demo.cli("run", "after_too_high", "--wait", code=3)
    refused = demo.cli("delete", "too_high", code=1)
    demo.cli("delete", "too_high", "--cascade", "--purge")

    assert "after_too_high is NOT_INITIALIZED: waits for too_high" in applied.err
    assert failed.err.count("\n") == 1
    assert "above 1.0" in failed.err
    assert "UpstreamNotReady" in blocked.out
    assert "after_too_high" in refused.err
    assert not {"too_high", "after_too_high"} & demo.statuses("demo").keys()


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
def chain(demo: Stack) -> tuple[Counter[tuple[str, str]], list[Seen]]:
    """How often each flow had succeeded, and what was seen after new prices of each day.

    A test that refreshes single instances uses this too, so that the chain runs before it.
    """
    seen = []
    demo.apply(without_cadences(), "--wait")
    try:
        first = _completed(demo)
        for day in DAYS:
            demo.cli("run", "sp500_prices", "--as-of", day, "--wait", seconds=400)
            dates = {name: demo.flow(name)["last_data_date"] for name in CHAIN}
            seen.append(Seen(demo.settled("demo"), _completed(demo), dates, _find_behind(demo)))
    finally:
        demo.cli("apply", "-f", str(DEMO), "--wait")
    return first, seen


def test_one_refresh_runs_the_whole_chain_once(
    demo: Stack, chain: tuple[Counter[tuple[str, str]], list[Seen]]
) -> None:
    first, seen = chain

    assert set(first.values()) == {1}, first
    expected = Counter(first)
    for day, after in zip(DAYS, seen, strict=True):
        expected.update((name, kind) for name, kinds in CHAIN.items() for kind in kinds)
        dates = {**dict.fromkeys(CHAIN, day), "max_utility": DAYS[0]}
        assert after == Seen(True, expected, dates, [])
    assert {run["status"] for name in CHAIN for run in demo.runs(name)} == {"completed"}


@pytest.mark.usefixtures("chain")
def test_a_run_with_wait_waits_for_the_cascade_too(demo: Stack) -> None:
    before = len(demo.cli("runs", "relative_momentum", "--json").json["runs"])

    demo.cli("run", "sp500_index", "--as-of", DAYS[0], "--wait")

    assert len(demo.cli("runs", "relative_momentum", "--json").json["runs"]) == before + 1


@pytest.mark.usefixtures("chain")
def test_every_snippet_of_the_python_page_runs(demo: Stack, tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(snippets)],
        env={**demo.environment, "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert snippets
    assert done.returncode == 0, done.stderr
    assert "symbols[0]: there is no 'APPL', did you mean 'AAPL'?" in done.stdout
    assert "HistGradientBoostingRegressor" in done.stdout
    assert "data:image/png;base64," in (tmp_path / "backtest.html").read_text()
    assert "Plotly.newPlot" in (tmp_path / "momentum.html").read_text()
    assert "rank IC" in (tmp_path / "tear-sheet.html").read_text()


def without_cadences() -> dict[str, Any]:
    """The manifest that ships without its cadences, and with an optimizer that follows the data."""
    manifest: dict[str, Any] = yaml.safe_load(DEMO.read_text())
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
