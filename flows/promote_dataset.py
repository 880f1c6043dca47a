"""Promote a dataset or experiment to a signal."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.planning import show_plan
from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.manifests import plan_one
from prefect_instances.libs.services.lifecycle.promotion import (
    build_promoted_spec,
    record_promotion,
)
from prefect_instances.libs.services.lifecycle.provisioning import provision
from prefect_instances.libs.specs import SignalContract
from prefect_instances.libs.wiring import connect


@flow(name="promote-dataset", flow_run_name="promote {dataset} to {name}", persist_result=False)
def promote_dataset(
    dataset: str, name: str, signal: SignalContract, plan: bool = False, audited: bool = False
) -> Any:
    """Create a signal from a dataset or experiment if the stored data satisfy its contract.

    A dataset stays as it is; the signal has the same pipeline, upstreams and schedule. From an
    experiment, the signal takes the expression and the versions of its ops.

    Args:
        dataset: Name, project/name or id of the dataset or experiment.
        name: Name of the new signal, in the same project.
        signal: Contract that every value of the signal must satisfy.
        plan: Only check the stored data and show the plan; change nothing.
        audited: Refuse the promotion unless `instances audit` found no look-ahead in what is
            published now.
    """
    return report_errors(lambda: _promote(dataset, name, signal, plan, audited))


def _promote(dataset: str, name: str, signal: SignalContract, plan: bool, audited: bool) -> Any:
    with connect() as services:
        spec = build_promoted_spec(services, dataset, name, signal.document(), audited=audited)
        planned = plan_one(services, spec)
        show_plan(services, planned)
        if plan:
            return planned.document()
        done = provision(services, spec, build_ports(services, spec))
        record_promotion(services, done, dataset)
        get_run_logger().info("%s promoted to %s (%s)", dataset, done.label, done.action)
        return {"id": str(done.instance_id), "name": done.label, "action": done.action}
