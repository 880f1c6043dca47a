"""What ``prefect_instances`` offers to authors, notebooks and applications."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import prefect_instances

PUBLIC = [
    "Accessor",
    "AlreadyExists",
    "Argument",
    "Axis",
    "BacktestSpec",
    "CompatibilityRules",
    "Constraints",
    "Contract",
    "DataRejected",
    "DatasetSpec",
    "Definition",
    "DefinitionKind",
    "DefinitionUnavailable",
    "Evidence",
    "ExperimentSpec",
    "Executor",
    "ExternalJobFailed",
    "ExternalJobs",
    "ExternalSystem",
    "Extract",
    "ExtractContext",
    "FlowContext",
    "FlowKind",
    "FlowResult",
    "FlowSpec",
    "FlowStatus",
    "Gate",
    "Guardrail",
    "GuardrailMode",
    "HasDependents",
    "Input",
    "InputFacts",
    "InstanceType",
    "InstancesError",
    "InvalidSpec",
    "JobState",
    "KEYS",
    "Lifecycle",
    "LineageContract",
    "LocationRefused",
    "MLModule",
    "ModelSpec",
    "Moments",
    "NotFound",
    "Op",
    "OpMacro",
    "OptimizerSpec",
    "Page",
    "PermanentError",
    "Pipeline",
    "PortfolioOptimizer",
    "Problem",
    "Query",
    "Report",
    "Require",
    "Sample",
    "ScheduleSpec",
    "Settings",
    "SignalContract",
    "SignalSpec",
    "Store",
    "StoreHandle",
    "StoredVersion",
    "TemporaryError",
    "Unavailable",
    "UpstreamRef",
    "UpstreamShape",
    "VersionLost",
    "audit",
    "compare",
    "conform",
    "connect",
    "content_hash",
    "grant_subscription",
    "inside",
    "lineage",
    "load_manifest",
    "load_settings",
    "model",
    "narrow",
    "parse_manifest",
    "parse_spec",
    "plot",
    "read",
    "report",
    "run",
    "runs",
    "schema_hash",
    "status",
    "subscribe",
    "tear_sheet",
    "versions",
]
"""Authors rely on these names: one that goes is a breaking change."""

ROOT = Path(__file__).parents[3]


def test_the_public_names_are_these() -> None:
    assert sorted(prefect_instances.__all__) == sorted(PUBLIC)
    assert sorted(dir(prefect_instances)) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(prefect_instances, name) is not None


def test_type_checkers_see_the_same_names_at_the_same_places() -> None:
    tree = ast.parse(Path(str(prefect_instances.__file__)).read_text())
    imported = {
        alias.name: str(node.module).removeprefix("prefect_instances.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("prefect_instances.")
        for alias in node.names
    }
    assert imported == prefect_instances._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = prefect_instances.no_such_name  # type: ignore[attr-defined]


def test_importing_it_imports_no_library() -> None:
    code = (
        "import sys, prefect_instances; print(*{'prefect', 'polars', 'pydantic'} & {*sys.modules})"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_example_wheel_imports_from_the_public_face_only() -> None:
    sources = list((ROOT / "tests" / "example" / "src").rglob("*.py"))
    assert len(sources) > 8
    for source in sources:
        assert "prefect_instances." not in source.read_text(), source
