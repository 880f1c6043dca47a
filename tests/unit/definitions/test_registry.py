"""Finding installed definitions: versions side by side, and broken ones that disturb nobody."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_instances.libs.core import aggregation
from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec
from prefect_instances.libs.core.status import FlowStatus
from prefect_instances.libs.definitions import Accessor, Definition, DefinitionKind, Registry
from prefect_instances.libs.definitions.installed import discover

ACCESSOR, STORE = DefinitionKind.ACCESSOR, DefinitionKind.STORE


def accessor(name: str, version: str) -> type[Definition]:
    body = {"name": name, "version": version, "read": lambda self, frame, query: frame}
    return type(name.title(), (Accessor,), body)


def test_versions_live_side_by_side() -> None:
    old, new = accessor("latest", "1.9.0"), accessor("latest", "1.10.0")
    registry = Registry([new, old])
    assert registry.get(ACCESSOR, "latest", "1.9.0") is old
    assert registry.get(ACCESSOR, "latest") is new
    assert registry.list() == (old, new)


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["1.0.0", "2.0.0-rc.1"], "1.0.0"),
        (["1.0.0-alpha", "1.0.0-beta"], "1.0.0-beta"),
        (["0.9.0", "0.10.0", "0.2.0"], "0.10.0"),
    ],
)
def test_the_newest_is_the_highest_release(versions: list[str], newest: str) -> None:
    registry = Registry(accessor("latest", version) for version in versions)
    assert registry.get(ACCESSOR, "latest").version == newest


def test_the_same_name_may_be_of_two_kinds() -> None:
    registry = Registry([accessor("same", "1.0.0")])
    with pytest.raises(DefinitionUnavailable) as caught:
        registry.get(STORE, "same")
    assert (caught.value.kind, caught.value.name) == ("StoreDef", "same")


def test_the_same_version_with_another_class_is_refused() -> None:
    registry = Registry([accessor("latest", "1.0.0")])
    with pytest.raises(InvalidSpec):
        registry.add(accessor("latest", "1.0.0"))


def test_the_same_class_twice_is_one() -> None:
    one = accessor("latest", "1.0.0")
    assert Registry([one, one]).list() == (one,)


def test_what_is_missing_is_answered_with_what_is_there() -> None:
    registry = Registry([accessor("point_in_time", "1.0.0"), accessor("simple", "1.2.0")])
    with pytest.raises(DefinitionUnavailable) as name:
        registry.get(ACCESSOR, "point_in_tim")
    assert "did you mean 'point_in_time'?" in str(name.value)
    with pytest.raises(DefinitionUnavailable) as version:
        registry.get(ACCESSOR, "simple", "2.0.0")
    assert version.value.version == "2.0.0"
    assert "1.2.0" in str(version.value)


PLUGINS = """
from prefect_instances.libs.definitions import Accessor

class Good(Accessor):
    name, version = "good", "1.0.0"
    def read(self, frame, query):
        return frame

class Unfinished(Accessor):
    name, version = "unfinished", "1.0.0"

class Unversioned(Good):
    version = "latest"

not_a_class = 3

from prefect_instances.libs.definitions import Argument, OpMacro

class Whole(OpMacro):
    name, version, arguments = "WHOLE", "1.0.0", {"x": Argument.SERIES}
    expression = "ZSCORE(x) + 1"

class Circular(Whole):
    name, expression = "CIRCULAR", "ON_CIRCULAR(x)"

class OnCircular(Whole):
    name, expression = "ON_CIRCULAR", "CIRCULAR(x)"

def any_ready(statuses, priority):
    return "READY" if "READY" in statuses else priority[0]


class Unused(Whole):
    name, arguments = "UNUSED", {"x": Argument.SERIES, "y": Argument.SERIES}
"""

ENTRIES = """
[prefect_instances.aggregations]
sdk_test_any_ready = sdk_test_plugins:any_ready
sdk_test_number = sdk_test_plugins:not_a_class
min_severity = sdk_test_plugins:any_ready

[prefect_instances.definitions]
accessor.good = sdk_test_plugins:Good
accessor.good_again = sdk_test_plugins:Good
accessor.unfinished = sdk_test_plugins:Unfinished
accessor.unversioned = sdk_test_plugins:Unversioned
accessor.number = sdk_test_plugins:not_a_class
accessor.absent = sdk_test_plugins:Absent
accessor.missing = sdk_test_no_such_module:Missing
accessor.failing = sdk_test_failing:Failing
accessor.leaving = sdk_test_leaving:Leaving
op_macro.WHOLE = sdk_test_plugins:Whole
op_macro.CIRCULAR = sdk_test_plugins:Circular
op_macro.ON_CIRCULAR = sdk_test_plugins:OnCircular
op_macro.UNUSED = sdk_test_plugins:Unused
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution whose entry points are one good definition and all kinds of bad ones."""
    info = tmp_path / "sdk_test_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sdk-test-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "sdk_test_plugins.py").write_text(PLUGINS)
    (tmp_path / "sdk_test_failing.py").write_text("raise RuntimeError('first line\\nsecond')")
    (tmp_path / "sdk_test_leaving.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for module in [name for name in sys.modules if name.startswith("sdk_test_")]:
        del sys.modules[module]


@pytest.mark.usefixtures("installed")
def test_a_broken_definition_disturbs_no_other() -> None:
    registry = discover()
    assert registry.get(ACCESSOR, "good").version == "1.0.0"
    broken = {each.entry_point.removeprefix("accessor."): each.error for each in registry.broken}
    expected = ("unfinished", "unversioned", "number", "absent", "missing", "failing", "leaving")
    assert set(expected) <= set(broken)
    assert broken["failing"] == "RuntimeError: first line"


@pytest.mark.usefixtures("installed")
def test_a_package_brings_a_method_of_aggregation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "METHODS", dict(aggregation.METHODS))

    registry = discover()

    contract = aggregation.parse_contract({"aggregation_method": "sdk_test_any_ready"})
    some = [FlowStatus.READY, FlowStatus.STALE]
    assert aggregation.aggregate(some, contract) is FlowStatus.READY
    broken = {each.entry_point: each.error for each in registry.broken}
    assert broken["sdk_test_number"] == "TypeError: is not a function of statuses and priority"
    assert broken["min_severity"] == "TypeError: min_severity is registered already"


@pytest.mark.usefixtures("installed")
def test_a_macro_that_cannot_be_written_out_is_broken_and_names_its_fault() -> None:
    registry = discover()
    macros = {each.name for each in registry.list() if each.kind is DefinitionKind.OP_MACRO}
    assert macros == {"WHOLE"}
    broken = {each.entry_point: each.error for each in registry.broken}
    assert "CIRCULAR -> ON_CIRCULAR -> CIRCULAR" in broken["op_macro.CIRCULAR"]
    assert "there is no operator 'CIRCULAR'" in broken["op_macro.ON_CIRCULAR"]
    assert "arguments.y: is not used by the expression" in broken["op_macro.UNUSED"]
    said = registry.function("CIRCULAR")
    assert isinstance(said, str)
    assert "failed to load" in said


@pytest.mark.usefixtures("installed")
def test_what_failed_to_load_is_named_where_it_is_asked_for() -> None:
    with pytest.raises(DefinitionUnavailable) as caught:
        discover().get(ACCESSOR, "failing")
    assert "first line" in str(caught.value)


def test_no_group_is_an_empty_registry() -> None:
    assert discover("prefect_instances.no_such_group").list() == ()


def test_bad_guardrail_contracts_are_refused_with_every_problem() -> None:
    bad = accessor("guarded", "1.0.0")
    bad.guardrail_contracts = (
        {"kind": "dataset.freshnes"},
        {"kind": "dataset.freshness", "gate": "run.end", "mode": "stop", "config": {"max_age": 1}},
    )
    with pytest.raises(InvalidSpec) as caught:
        Registry([bad])
    paths = {problem.path.partition(".")[2] for problem in caught.value.problems}
    assert paths == {
        "guardrail_contracts[0].kind",
        "guardrail_contracts[1].gate",
        "guardrail_contracts[1].mode",
        "guardrail_contracts[1].config.max_age",
        "guardrail_contracts[1].config.max_age_days",
    }
