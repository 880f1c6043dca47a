"""The command that makes a lost output again, against the flows that it is sent to."""

from __future__ import annotations

import inspect

import pytest

from prefect_instances.flows.execution_flows import EXECUTION
from prefect_instances.libs.core.divergence import build_remedy
from prefect_instances.libs.core.ids import flow_name
from prefect_instances.libs.core.status import FlowKind


@pytest.mark.parametrize("kind", list(FlowKind))
def test_the_command_names_only_options_that_the_flow_takes(kind: FlowKind) -> None:
    _, flow = EXECUTION[flow_name(kind)]
    words = build_remedy("p/m", kind).split()

    options = {word.removeprefix("--") for word in words if word.startswith("--")} - {"flow"}

    assert options <= set(inspect.signature(flow.fn).parameters)


def test_only_a_refresh_reads_its_source_again() -> None:
    assert build_remedy("p/a", FlowKind.REFRESH) == "instances run p/a --mode full"
    assert build_remedy("p/m", FlowKind.INFERENCE) == "instances run p/m --flow inference --force"
