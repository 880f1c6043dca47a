"""Applying a manifest: every instance provisioned in the order of the lineage."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.execution import ports
from flows.reporting import current_run_id, reported
from libs.services import reports
from libs.services.checks import label_of
from libs.services.context import Services
from libs.services.handles import Ports
from libs.services.manifests import Plan, plan
from libs.services.pictures import mermaid
from libs.services.provisioning import provision
from libs.specs import InstanceSpec, Manifest, survey_manifest
from libs.wiring import connect

AT_ONCE = 4
"""Instances provisioned at a time; more do not make Prefect's API any faster."""


@flow(
    name="apply-manifest",
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]  # generic
)
def apply_manifest(manifest: dict[str, Any]) -> Any:
    """Check a manifest as a whole, then provision what is missing, upstreams first.

    Args:
        manifest: `project` and `instances`, as in a manifest file.
    """
    return reported(lambda: _apply(manifest))


def _apply(document: dict[str, Any]) -> Any:
    logger = get_run_logger()
    with connect() as services:
        survey = survey_manifest(document)
        planned, manifest = plan(services, survey), survey.manifest
        for step in planned.steps:
            logger.info("%s %s %s %s", step.action, step.type, step.name, step.detail)
        if not planned.is_empty:
            _provision_all(services, manifest, planned)
        picture = mermaid(reports.lineage(services.database))
        services.prefect.create_artifact(
            "lineage", "markdown", picture, "Lineage, as it was then", current_run_id()
        )
        return planned.document()


def _provision_all(services: Services, manifest: Manifest, planned: Plan) -> None:
    """Provision level by level: what stands on one level does not depend on each other."""
    specs = {label_of(spec): spec for spec in manifest.instances}
    for level in planned.levels:
        futures: list[PrefectFuture[str]] = [
            provision_one.with_options(task_run_name=f"provision {specs[label].name}").submit(
                services, specs[label], ports(services, specs[label])
            )
            for label in level
        ]
        for future in futures:
            future.result()


@task(name="provision", persist_result=False, cache_policy=NO_CACHE)
def provision_one(services: Services, spec: InstanceSpec, with_ports: Ports) -> str:
    """Provision one instance of a manifest."""
    return provision(services, spec, with_ports).action
