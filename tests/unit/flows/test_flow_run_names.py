"""Flow runs say whose they are: in every list of Prefect the name is what people see."""

from __future__ import annotations

from importlib import import_module
from string import Formatter
from typing import Any
from uuid import uuid4

import pytest

from prefect_instances.flows.execution_flows import FLOWS
from prefect_instances.flows.naming import name_run
from prefect_instances.libs.core.ids import deployment_tags, read_run_name
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans

TAGS = deployment_tags(uuid4(), "demo", "DatasetInstance", "refresh", "prices")


@pytest.mark.parametrize(
    ("parameters", "scheduled", "name"),
    [
        ({"opening": str(uuid4())}, False, "prices refresh · gate"),
        ({"opening": None}, True, "prices refresh · schedule"),
        ({"opening": None}, False, "prices refresh · manual"),
        ({"start": "2024-01-01"}, False, "prices refresh · backfill"),
    ],
)
def test_a_run_says_instance_kind_and_cause(
    parameters: dict[str, Any], scheduled: bool, name: str
) -> None:
    assert read_run_name(TAGS, parameters, scheduled=scheduled) == name


def test_a_deployment_from_before_gives_no_name() -> None:
    assert read_run_name(["flow-kind:refresh", "mine"], {}, scheduled=False) == ""


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_execution_flow_names_its_runs(flow: Any) -> None:
    assert flow.flow_run_name is name_run


def test_every_lifecycle_flow_names_its_runs_by_what_it_does() -> None:
    """A name is written with parameters of the flow; one that it does not have fails the run."""
    for plan in lifecycle_plans():
        module, _, attribute = plan.entrypoint.rpartition(".")
        flow = getattr(import_module(module), attribute)
        if callable(flow.flow_run_name):
            continue
        fields = {name for _, name, _, _ in Formatter().parse(flow.flow_run_name) if name}
        assert {field.partition(".")[0] for field in fields} <= flow.parameters.properties.keys()
