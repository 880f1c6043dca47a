"""What a definition declares about flows and lineage, and what is wrong with such a declaration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import FlowKind, InstanceType, Require
from prefect_instances.libs.definitions import (
    FlowContext,
    FlowResult,
    FlowSpec,
    Input,
    LineageContract,
    Registry,
)
from prefect_instances.libs.services.composition.shaping import (
    bind_references,
    build_shape,
    list_lineage_problems,
    list_schedule_problems,
)
from prefect_instances.libs.specs import DatasetSpec, ModelSpec, UpstreamRef
from tests.unit.definitions.test_base import Minimal

WEEKLY = {"type": "cron", "expression": "0 8 * * 1"}


class Checked(Minimal):
    """One with a flow of its own."""

    name = "checked"
    flow_specs = (
        FlowSpec("refresh", schedule={"type": "interval", "minutes": 60}),
        FlowSpec("quality", runs="look", schedule=WEEKLY),
        FlowSpec("audit", "look", reads=("output", "upstreams"), triggered=False, aggregated=False),
    )
    lineage_contracts = (
        LineageContract("covariance", "refresh", Require.DATA, triggers=False),
        LineageContract("input", required=True),
    )

    def look(self, context: FlowContext, inputs: Sequence[Input]) -> FlowResult:
        return FlowResult()


def declaring(**attributes: Any) -> list[tuple[str, str]]:
    """The problems of a definition that declares this: their paths, and the texts."""
    definition = type("Declaring", (Checked,), attributes)
    return [(problem.path, problem.message) for problem in definition.declaration_problems()]


def test_a_good_declaration_has_no_problems_and_is_described() -> None:
    assert Checked.declaration_problems() == []
    described = json.loads(json.dumps(Checked.describe()))
    assert described["flow_specs"][1] == {
        "kind": "quality",
        "runs": "look",
        "schedule": WEEKLY,
        "reads": ["output"],
        "triggered": True,
        "publishes": True,
        "aggregated": True,
    }
    assert described["lineage_contracts"][0] == {
        "role": "covariance",
        "flow": "refresh",
        "require": "data",
        "triggers": False,
        "required": False,
    }


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        pytest.param(FlowSpec("Quality", "look"), ".kind", id="no name"),
        pytest.param(FlowSpec("a" * 41, "look"), ".kind", id="too long"),
        pytest.param(FlowSpec("training", "look"), ".kind", id="of another type"),
        pytest.param(FlowSpec("refresh", "look"), ".kind", id="of its own type"),
        pytest.param(FlowSpec("quality"), ".runs", id="nothing runs"),
        pytest.param(FlowSpec("quality", "watch"), ".runs", id="no such method"),
        pytest.param(FlowSpec("quality", "name"), ".runs", id="no method"),
        pytest.param(FlowSpec("quality", "look", reads=()), ".reads", id="reads nothing"),
        pytest.param(FlowSpec("quality", "look", reads=("inputs",)), ".reads", id="reads what"),
        pytest.param(
            FlowSpec("quality", "look", {"type": "cron"}), ".schedule.expression", id="no slots"
        ),
        pytest.param({"kind": "quality"}, "", id="no FlowSpec"),
    ],
)
def test_a_wrong_flow_is_told_at_its_path(spec: Any, path: str) -> None:
    assert [found for found, _ in declaring(flow_specs=(spec,))] == [f"flow_specs[0]{path}"]


@pytest.mark.parametrize(
    ("contract", "path"),
    [
        pytest.param(LineageContract(""), ".role", id="no role"),
        pytest.param(LineageContract("output"), ".role", id="the own output"),
        pytest.param(LineageContract("input", "re fresh"), ".flow", id="no name"),
        pytest.param(LineageContract("input", require="soon"), ".require", id="no policy"),  # type: ignore[arg-type]  # wrong on purpose
        pytest.param({"role": "input"}, "", id="no LineageContract"),
    ],
)
def test_a_wrong_contract_is_told_at_its_path(contract: Any, path: str) -> None:
    found = [path for path, _ in declaring(lineage_contracts=(contract,))]
    assert found == [f"lineage_contracts[0]{path}"]


def test_all_problems_are_told_at_once_and_the_registry_refuses() -> None:
    wrong = type(
        "Wrong",
        (Checked,),
        {
            "flow_specs": (
                FlowSpec("quality", "look"),
                FlowSpec("quality", "watch", {"type": "cron", "expression": "x"}),
            ),
            "lineage_contracts": (LineageContract("input"), LineageContract("input")),
        },
    )
    with pytest.raises(InvalidSpec) as caught:
        Registry([wrong])
    assert [problem.path for problem in caught.value.problems] == [
        "Wrong.flow_specs[1].kind",
        "Wrong.flow_specs[1].runs",
        "Wrong.flow_specs[1].schedule.expression",
        "Wrong.lineage_contracts[1].role",
    ]


def test_a_definition_without_instances_of_its_own_has_neither() -> None:
    from prefect_instances.libs.plugins.simple import SimpleAccessor

    attributes = {
        "flow_specs": (FlowSpec("quality", "look"),),
        "lineage_contracts": (LineageContract("input"),),
    }
    wrong = type("Wrong", (SimpleAccessor,), attributes)
    paths = [problem.path for problem in wrong.declaration_problems()]
    assert paths == ["flow_specs", "lineage_contracts"]


def test_added_flows_extend_the_shape_of_the_type() -> None:
    shape = build_shape(InstanceType.DATASET, Checked)
    assert shape.flows == ("refresh", "quality", "audit")
    assert (shape.output, shape.readers) == ("refresh", ("refresh", "audit"))
    edges = [(edge.upstream, edge.downstream, edge.role, edge.triggers) for edge in shape.inner]
    assert edges == [
        ("refresh", "quality", "output", True),
        ("refresh", "audit", "output", False),
    ]
    assert shape.policy("audit", None, None) == (Require.READY, False)
    assert shape.policy("refresh", None, None) == (Require.READY, True)
    assert build_shape(InstanceType.BACKTEST, None) is SHAPES[InstanceType.BACKTEST]


def refs(*documents: dict[str, Any]) -> list[tuple[str, UpstreamRef]]:
    found = [UpstreamRef.model_validate(document) for document in documents]
    return [(f"upstream_refs[{at}]", ref) for at, ref in enumerate(found)]


def test_a_contract_says_what_a_reference_leaves_open() -> None:
    given = refs(
        {"resource": "a"},
        {"resource": "b", "role": "covariance"},
        {"resource": "c", "role": "covariance", "require": "none", "triggers": True},
    )
    assert list(list_lineage_problems(Checked, given)) == []
    said = [(ref.flow, ref.require, ref.triggering) for _, ref in bind_references(Checked, given)]
    assert said == [("", "", None), ("refresh", "data", False), ("refresh", "none", True)]


def test_a_composition_against_the_contracts_is_told_with_its_paths() -> None:
    given = refs(
        {"resource": "a", "role": "covariance", "flow": "inference"},
        {"resource": "b", "role": "output"},
    )
    paths = [problem.path for problem in list_lineage_problems(Checked, given)]
    assert paths == ["upstream_refs[0].flow", "upstream_refs", "upstream_refs[1].role"]


def dataset(**parts: Any) -> DatasetSpec:
    document = {"name": "prices", "pipeline": {"definition": "checked"}, **parts}
    return DatasetSpec.model_validate(document)


def model(**parts: Any) -> ModelSpec:
    document = {"name": "model", "module": "ridge", "features": [{"role": "a"}], **parts}
    return ModelSpec.model_validate(document)


def test_schedules_of_flows_that_there_are_not_are_told_at_their_paths() -> None:
    shape = build_shape(InstanceType.DATASET, Checked)
    asked = dataset(flow_schedules={"quality": WEEKLY, "qualty": WEEKLY, "refresh2": {}})
    found = list(list_schedule_problems(asked, shape))
    assert [problem.path for problem in found] == [
        "flow_schedules.qualty",
        "flow_schedules.refresh2",
    ]
    assert "did you mean 'quality'" in found[0].message
    asked_of_model = model(schedule={"trainin": WEEKLY})
    [problem] = list_schedule_problems(asked_of_model, SHAPES[InstanceType.MODEL])
    assert problem.path == "schedule.trainin"
    assert "did you mean 'training'" in problem.message


def test_an_instance_may_say_another_schedule_than_the_usual_one() -> None:
    silent, saying = dataset(schedule=WEEKLY), dataset(flow_schedules={"quality": WEEKLY})
    usual = {"type": "interval", "minutes": 5}
    assert silent.schedule_of("quality").type == "manual"
    assert silent.schedule_of("quality", usual).minutes == 5
    assert saying.schedule_of("quality", usual).expression == "0 8 * * 1"
    assert silent.schedule_of(FlowKind.REFRESH, usual).type == "cron"
    assert dataset().schedule_of(FlowKind.REFRESH, usual).minutes == 5
    off = dataset(flow_schedules={"quality": {"enabled": False}})
    assert off.schedule_of("quality", usual).type == "manual"


def test_a_model_writes_the_schedules_of_all_its_flows_together() -> None:
    spec = model(schedule={"training": WEEKLY, "quality": WEEKLY})
    assert spec == model(schedule={"training": WEEKLY}, flow_schedules={"quality": WEEKLY})
    assert spec.schedule_of("quality") == spec.schedule_of("training")
    assert ModelSpec.model_validate(spec.document()) == spec


@pytest.mark.parametrize(
    ("make", "parts", "loc"),
    [
        pytest.param(
            dataset,
            {"flow_schedules": {"refresh": WEEKLY}},
            ("flow_schedules", "refresh"),
            id="a flow of the type",
        ),
        pytest.param(
            dataset,
            {"flow_schedules": {"quality": {"type": "cron"}}},
            ("flow_schedules", "quality", "expression"),
            id="a faulty schedule",
        ),
        pytest.param(
            model,
            {"schedule": {"quality": {"type": "cron"}}},
            ("schedule", "quality", "expression"),
            id="where it was written",
        ),
        pytest.param(
            model,
            {"schedule": {"quality": WEEKLY}, "flow_schedules": {"quality": {}}},
            ("schedule", "quality"),
            id="said twice",
        ),
        pytest.param(
            model, {"schedule": {"type": "cron"}}, ("schedule", "expression"), id="of the training"
        ),
    ],
)
def test_a_wrong_schedule_is_told_where_it_was_written(
    make: Any, parts: dict[str, Any], loc: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        make(**parts)
    errors: Any = caught.value
    assert [error["loc"] for error in errors.errors()] == [loc]
