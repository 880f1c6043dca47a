"""``apply`` and ``delete``: start the lifecycle flows and wait for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Json, Name, PlanOnly, Timeout, Wait
from prefect_instances.cli.obstacles import find_obstacles
from prefect_instances.cli.output import emit_json, emit_rows, end_not_ready, warn
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_services, utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, status_rows
from prefect_instances.cli.waiting import (
    Patience,
    build_settled,
    run_url,
    statuses_of,
    submit,
    wait_for_run,
    wait_until_settled,
)
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.core.plan import Plan, format_lines, summarize
from prefect_instances.libs.services.lifecycle import manifests
from prefect_instances.libs.services.lifecycle.observing import recorded_deployments
from prefect_instances.libs.services.lifecycle.removal import plan_removal
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import Manifest, spec_document, survey_files

APPLY = "apply-manifest/default"
DEPROVISION = "deprovision-instance/default"


def apply(
    file: Annotated[
        Path,
        typer.Option(
            "--file", "-f", exists=True, readable=True, help="Manifest, or directory of manifests."
        ),
    ],
    plan: PlanOnly = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Also remove instances that the manifest does not list; keep their data.",
        ),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = 0.0,
    json: Json = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Let --prune remove all instances of a project, unasked."),
    ] = False,
) -> None:
    """Create and update instances as a manifest describes them."""
    how = Applying(plan, prune, wait, json, yes)
    with open_services() as services:
        missing = apply_manifest(services, file, how, Patience.of(timeout))
    end_not_ready(missing)


def delete(
    name: Name,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Also remove all instances that read from it.")
    ] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Also delete the stored data.")] = False,
    plan: PlanOnly = False,
    json: Json = False,
) -> None:
    """Remove an instance.

    It is refused while other instances read from it, unless --cascade is given.
    """
    parameters = {"instance": name, "cascade": cascade, "purge": purge}
    with open_services() as services, Progress() as progress:
        # Report what cannot be done at once, not by a flow run.
        planned = plan_removal(services, name, cascade=cascade, purge=purge)
        print_plan(planned, json)
        if plan:
            return
        started = submit(services, DEPROVISION, parameters)
        wait_for_run(services, started, f"removal of {name}", progress, Patience.of(0))
    if not json:
        print(f"{name} removed")


@dataclass(frozen=True, slots=True)
class Applying:
    """The options of the command ``apply``."""

    plan_only: bool = False
    prune: bool = False
    wait: bool = False
    json: bool = False
    yes: bool = False


def apply_manifest(services: Services, file: Path, how: Applying, patience: Any) -> list[str]:
    """Plan, submit the changes and wait; return a line for each instance that is not READY.

    An empty plan submits nothing. Raises InvalidSpec with every problem of the manifest.
    """
    survey = survey_files(file)
    plan, manifest = manifests.plan(services, survey, pruning=how.prune), survey.manifest
    print_plan(plan, how.json)
    if how.plan_only:
        return []
    if how.prune and not how.yes:
        _agree(plan.list_emptied_projects(spec.project for spec in manifest.instances))
    names = [f"{spec.project}/{spec.name}" for spec in manifest.instances]
    if plan.is_empty:
        _tell_obstacles(services, names)
    statuses = statuses_of(services, names)
    with Progress(expected=len(names)) as progress:
        if not plan.is_empty:
            parameters = {
                "manifest": manifest_document(manifest),
                "planned_on": plan.versions,
                "prune": how.prune,
            }
            _submit(services, parameters, statuses, progress, patience)
        missing = _settle(services, statuses, progress, patience) if how.wait else []
    if how.json:
        return missing
    if how.wait:
        emit_rows(STATUS_HEADERS, status_rows(statuses(), utc_now()))
    elif not plan.is_empty:
        print(summarize(plan, done=True))
    return missing


def _tell_obstacles(services: Services, names: Sequence[str]) -> None:
    """Say what in Prefect keeps the instances ``project/name`` from running, if something does."""
    recorded = recorded_deployments(services.database)
    own = {label: id_ for label, id_ in recorded.items() if label.rpartition(".")[0] in names}
    for line in find_obstacles(services.settings, own):
        warn(f"instances: {line}")


def _agree(projects: Sequence[str]) -> None:
    """Ask before whole projects are removed; raise PermanentError if nobody can be asked."""
    if not projects:
        return
    what = f"this removes every instance of {', '.join(projects)}"
    if not sys.stdin.isatty():
        raise PermanentError(f"{what}; add --yes if that is intended")
    typer.confirm(f"{what}: go on?", abort=True)


def _submit(
    services: Services,
    parameters: Mapping[str, Any],
    statuses: Any,
    progress: Progress,
    patience: Any,
) -> None:
    started = submit(services, APPLY, parameters)
    progress.say(f"applying  {run_url(services, started.id)}")
    wait_for_run(services, started, "apply", progress, patience, statuses)


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as JSON data, for the flow that applies it."""
    instances = [{**spec_document(spec), "project": spec.project} for spec in manifest.instances]
    return {"project": manifest.project, "instances": instances}


def _settle(services: Services, statuses: Any, progress: Progress, patience: Any) -> list[str]:
    return wait_until_settled(statuses, build_settled(services), progress, patience)


def print_plan(plan: Plan, json: bool) -> None:
    """Print a plan on stdout, as text or as one JSON document."""
    if json:
        emit_json(plan.document())
        return
    for line in format_lines(plan):
        print(line)
