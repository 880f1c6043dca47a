"""Apply a manifest: create and update instances, upstreams first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_instances.flows.execution_flows import build_ports
from prefect_instances.flows.naming import name_apply
from prefect_instances.flows.planning import show_plan
from prefect_instances.flows.reporting import current_run_id, report_errors
from prefect_instances.libs.core.plan import Action, Plan, Step
from prefect_instances.libs.services.composition.checks import build_label
from prefect_instances.libs.services.lifecycle.applying import apply_step
from prefect_instances.libs.services.lifecycle.external_resources import Ports
from prefect_instances.libs.services.lifecycle.locks import lock_projects
from prefect_instances.libs.services.lifecycle.manifests import plan, require_unmoved
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.rendering.diagrams import draw_lineage
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import InstanceSpec, Manifest, survey_manifest
from prefect_instances.libs.wiring import connect

AT_ONCE = 4
"""How many instances are provisioned at a time; more do not make Prefect's API faster."""


@flow(
    name="apply-manifest",
    flow_run_name=name_apply,
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]  # generic
)
def apply_manifest(
    manifest: dict[str, Any],
    plan: bool = False,
    planned_on: dict[str, int] | None = None,
    prune: bool = False,
) -> Any:
    """Check a manifest, then create and update the instances that differ, upstreams first.

    A second apply in the same project waits for the first one.

    Args:
        manifest: `project` and `instances`, as in a manifest file.
        plan: Only check the manifest and show the plan; change nothing.
        planned_on: Versions of the instances that the plan was made on. If an instance has changed
            since, nothing is applied.
        prune: Also remove instances of the projects that the manifest does not list. Their stored
            data is kept.
    """
    return report_errors(lambda: _apply(manifest, plan, planned_on, prune))


def _apply(
    document: dict[str, Any], plan_only: bool, planned_on: dict[str, int] | None, prune: bool
) -> Any:
    survey = survey_manifest(document)
    with connect() as services:
        if plan_only:
            planned = plan(services, survey, pruning=prune)
            show_plan(services, planned)
            return planned.document()
        say, projects = get_run_logger().info, survey.manifest.projects
        with lock_projects(services, projects, current_run_id(), say) as prolong:
            planned = plan(services, survey, pruning=prune)
            if planned_on is not None:
                require_unmoved(planned, planned_on)
            show_plan(services, planned)
            if not planned.is_empty:
                _apply_all(services, survey.manifest, planned, prolong)
                _prune(services, planned)
        picture = draw_lineage(reports.lineage(services.database))
        services.prefect.create_artifact(
            "lineage", "markdown", picture, "Lineage after this apply", current_run_id()
        )
        return planned.document()


def _apply_all(
    services: Services, manifest: Manifest, planned: Plan, prolong: Callable[[], None]
) -> None:
    """Apply the plan level by level; the instances of one level do not depend on each other."""
    specs = {build_label(spec): spec for spec in manifest.instances}
    steps = {step.name.lower(): step for step in planned.steps}
    for level in planned.levels:
        futures: list[PrefectFuture[str]] = [
            apply_one.with_options(task_run_name=f"{steps[label].action} {label}").submit(
                services, specs[label], build_ports(services, specs[label]), steps[label]
            )
            for label in level
            if steps[label].action is not Action.UNCHANGED
        ]
        for future in futures:
            future.result()
            prolong()


def _prune(services: Services, planned: Plan) -> None:
    """Remove instances last and in the plan's order, when nothing reads from them."""
    for step in planned.steps:
        if step.action is Action.REMOVE:
            deprovision(services, step.name)


@task(name="apply", persist_result=False, cache_policy=NO_CACHE)
def apply_one(services: Services, spec: InstanceSpec, with_ports: Ports, step: Step) -> str:
    """Create or update one instance of a manifest."""
    return apply_step(services, spec, with_ports, step).action
