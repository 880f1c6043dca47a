"""Saving an experiment's expression as a macro."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import reported
from prefect_instances.libs.services.lifecycle.macros import Wish, plan_macro, save_macro
from prefect_instances.libs.wiring import connect


@flow(name="save-macro", persist_result=False)
def save_macro_of_experiment(
    experiment: str,
    name: str,
    parameters: dict[str, float] = {},  # noqa: B006  # never changed; None would be a second form
    version: str = "",
    plan: bool = False,
) -> Any:
    """Keep an experiment's expression as a macro, which other expressions call by its name.

    Its fields become the macro's first arguments. What calls the macro already keeps to the version
    that it was made with.

    Args:
        experiment: The experiment: its name, project/name or id.
        name: What expressions call the macro: capital letters, digits and _.
        parameters: Constants of the expression that become arguments, by the names that they get;
            they stay as defaults.
        version: The version; empty: the first, or the major one after the newest.
        plan: Only check it and show what would be saved; change nothing.
    """
    wish = Wish(experiment, name, parameters, version)
    return reported(lambda: _save(wish, plan))


def _save(wish: Wish, plan: bool) -> Any:
    with connect() as services:
        saved = (plan_macro if plan else save_macro)(services, wish)
        get_run_logger().info("%s %s (%s)", saved.macro.usage(), saved.macro.version, saved.action)
        return saved.document()
