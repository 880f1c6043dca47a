"""Every kind of flow has a procedure that can be imported: the table holds texts."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.services.runs.procedures import load_procedure


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FlowKind.REFRESH, "refresh"),
        (FlowKind.PREVIEW, "preview"),
        (FlowKind.TRAINING, "train"),
        (FlowKind.INFERENCE, "infer"),
        (FlowKind.MONITORING, "monitor"),
        (FlowKind.OPTIMIZE, "optimize"),
        (FlowKind.BACKTEST, "backtest"),
        ("added_by_a_definition", "run_definition_method"),
    ],
)
def test_the_procedure_of_each_kind_of_flow_is_found(kind: str, name: str) -> None:
    assert load_procedure(kind).__name__ == name
