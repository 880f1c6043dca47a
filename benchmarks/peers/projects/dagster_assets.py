"""One asset for each node, run by ``AutomationCondition.eager()``.

What one evaluation requests becomes one run; its steps follow each other in one process.
"""

from typing import Any

import dagster as dg
from body import read_graph, run_body


def make_asset(name: str, upstreams: list[str]) -> Any:
    """Make an asset with the empty body; a root has no condition and is materialized on request."""

    def compute(context: dg.AssetExecutionContext) -> None:
        run_body(name, upstreams, context.run.run_id)

    condition = dg.AutomationCondition.eager() if upstreams else None
    return dg.asset(name=name, deps=upstreams, automation_condition=condition)(compute)


assets = {name: make_asset(name, upstreams) for name, upstreams in read_graph().items()}
sensor = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=1,
)
definitions = dg.Definitions(
    assets=list(assets.values()), sensors=[sensor], executor=dg.in_process_executor
)
