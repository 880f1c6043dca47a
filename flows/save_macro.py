"""Save an experiment's expression as a macro."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import report_errors
from prefect_instances.libs.services.lifecycle.macros import MacroRequest, plan_macro, save_macro
from prefect_instances.libs.wiring import connect


@flow(name="save-macro", flow_run_name="save macro {name}", persist_result=False)
def save_macro_of_experiment(
    experiment: str,
    name: str,
    parameters: dict[str, float] = {},  # noqa: B006  # never changed; None would be a second form
    version: str = "",
    plan: bool = False,
) -> Any:
    """Save an experiment's expression as a macro that other expressions can call.

    The fields of the expression become the first arguments. Instances that already call the macro
    keep the version that they were created with.

    Args:
        experiment: Name, project/name or id of the experiment.
        name: Name of the macro: capital letters, digits and _.
        parameters: Constants of the expression that become arguments, by argument name. Their
            values stay as defaults.
        version: Version of the macro. Empty: 1.0.0, or the next major version.
        plan: Only check the macro and show it; save nothing.
    """
    wish = MacroRequest(experiment, name, parameters, version)
    return report_errors(lambda: _save(wish, plan))


def _save(wish: MacroRequest, plan: bool) -> Any:
    with connect() as services:
        saved = (plan_macro if plan else save_macro)(services, wish)
        get_run_logger().info("%s %s (%s)", saved.macro.usage(), saved.macro.version, saved.action)
        return saved.document()
