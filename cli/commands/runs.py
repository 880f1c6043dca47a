"""``run``, ``runs``, ``run-info`` and ``rerun``: run a flow and look at runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from prefect_instances.cli.commands.arguments import Json, Name, Timeout, Wait
from prefect_instances.cli.output import emit_document, emit_json, emit_rows, end_not_ready
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_database, open_services, utc_now
from prefect_instances.cli.tables import RUN_HEADERS, STATUS_HEADERS, run_rows, status_rows
from prefect_instances.cli.waiting import (
    Patience,
    cascade_of,
    run_url,
    statuses_of,
    submit,
    wait_for_run,
    wait_until_served,
    wait_until_settled,
)
from prefect_instances.libs.adapters.prefect import RunView
from prefect_instances.libs.core.dates import as_of_fault
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.core.ids import build_run_name
from prefect_instances.libs.core.status import Cause, FlowKind
from prefect_instances.libs.services.rendering import links
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.settings import load_settings

COMPLETED = "Completed"
RERUN = "rerun-run/default"


@dataclass(frozen=True, slots=True)
class Target:
    """The flow to run: its instance as ``project/name``, its kind and its deployment."""

    instance: str
    kind: str
    deployment_id: UUID

    @property
    def run_name(self) -> str:
        """The name of a run that a person asks for."""
        return build_run_name(self.instance, self.kind, Cause.MANUAL)


UNSAID = {
    "mode": "incremental",
    "as_of": None,
    "force": False,
    "recursive": False,
    "smart": False,
    "accept_loss": False,
}
"""The defaults of a flow's options, which are not sent; not every flow has all of them."""


class RunMode(StrEnum):
    """How much a run reads from its source."""

    INCREMENTAL = "incremental"
    FULL = "full"


class NoSuchFlow(PermanentError):
    """The instance has no flow of this kind, or has several: choose one."""

    def __init__(self, instance: str, asked: str, kinds: list[str]) -> None:
        self.instance, self.asked, self.kinds = instance, asked, kinds
        wanted = f"no flow {asked!r}" if asked else "several flows"
        super().__init__(f"{instance!r} has {wanted}; choose its flow: {', '.join(kinds)}")


class DeploymentGone(PermanentError):
    """The deployment of the flow was deleted in Prefect: `instances reconcile` makes it again."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        super().__init__(
            f"{instance!r} has no deployment in Prefect any more; `instances reconcile` makes it "
            "again, after `instances up` if Prefect's database is new"
        )


class InFuture(PermanentError):
    """The day has not begun: leave out --as-of to read up to today."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"--as-of {fault}")


class OptionNotTaken(PermanentError):
    """The flow does not have this option: leave it out, or choose another flow with --flow."""

    def __init__(self, instance: str, options: list[str]) -> None:
        self.instance, self.options = instance, options
        listed = ", ".join(f"--{option.replace('_', '-')}" for option in options)
        super().__init__(f"this flow of {instance!r} has no option {listed}")


def run(  # noqa: PLR0913  # one argument for each option of the command
    name: Name,
    flow: Annotated[
        str, typer.Option("--flow", metavar="KIND", help="Kind of flow. Default: the only one.")
    ] = "",
    mode: Annotated[
        RunMode, typer.Option("--mode", help="Read what is new, or the whole history.")
    ] = RunMode.INCREMENTAL,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            help="Newest day of data to read; the run treats it as today.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Run on what the upstreams last published, whatever their status."
        ),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="First refresh what is stale upstream.")
    ] = False,
    smart: Annotated[
        bool, typer.Option("--smart", help="Skip the run if the output is already fresh.")
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Publish even if rows or columns are lost, or a type changes."
        ),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = 0.0,
) -> None:
    """Run a flow of an instance now."""
    require_past(as_of.date() if as_of else None, utc_now())
    parameters = {
        "mode": mode.value,
        "as_of": as_of.date().isoformat() if as_of else None,
        "force": force,
        "recursive": recursive,
        "smart": smart,
        "accept_loss": accept_loss,
    }
    with open_services() as services:
        target = choose_flow(services, name, flow)
        parameters = parameters_for(services, target, parameters)
        missing = _execute(services, target, parameters, wait, timeout)
    end_not_ready(missing)


def require_past(as_of: date | None, now: datetime) -> None:
    """Raise InFuture for a day that has begun nowhere on earth yet."""
    if as_of is not None and (fault := as_of_fault(as_of, now)):
        raise InFuture(fault)


def runs(name: Name, json: Json = False) -> None:
    """List the runs of an instance, newest first."""
    with open_database() as database:
        document = reports.runs(database, name)
    emit_json(document) if json else emit_rows(RUN_HEADERS, run_rows(document))


def run_info(
    id_: Annotated[
        str,
        typer.Argument(metavar="ID", help="Id of the run; `instances runs NAME` lists the ids."),
    ],
    json: Json = False,
) -> None:
    """Show one run in detail."""
    with open_database() as database:
        document = reports.run_info(database, id_)
    document["links"] = links.link_run(load_settings(), document["handles"], document["metrics"])
    emit_json(document) if json else emit_document(document)


def rerun(
    id_: Annotated[
        str,
        typer.Argument(metavar="ID", help="Id of the run; `instances runs NAME` lists the ids."),
    ],
    json: Json = False,
) -> None:
    """Repeat a run on its recorded inputs and compare the outputs. Nothing is published.

    If the run has no output (monitoring, or training without promotion), its metrics are compared.
    Exits with 1 if they differ.
    """
    with open_services() as services:
        original = reports.run_info(services.database, id_)
        with Progress() as progress:
            started = submit(services, RERUN, {"run": original["id"]})
            wait_for_run(services, started, f"rerun of {id_}", progress, Patience.of(0))
        again = reports.run_info(services.database, str(started.id))
    outcome = {
        "run": original["id"],
        "rerun": again["id"],
        "instance": original["instance"],
        "flow_kind": original["flow_kind"],
        "compared": again["metrics"]["compared"],
        "identical": again["metrics"]["identical"],
        "differences": again["metrics"]["differences"],
    }
    emit_json(outcome) if json else emit_document(outcome)
    if not outcome["identical"]:
        raise typer.Exit(1)


def choose_flow(services: Services, name: str, kind: str) -> Target:
    """Find the instance's flow of ``kind``, or its only flow besides those of its definition.

    Raises NotFound for an unknown instance, NoSuchFlow if the choice is not clear, Unavailable if
    provisioning has not created the deployment yet.
    """
    (entry,) = reports.status(services.database, utc_now(), name=name)["instances"]
    full_name = f"{entry['project']}/{entry['name']}"
    matching = [flow for flow in entry["flows"] if kind in ("", flow["kind"])]
    if not kind and len(matching) > 1:
        matching = [flow for flow in matching if flow["kind"] in frozenset(FlowKind)]
    if len(matching) != 1:
        raise NoSuchFlow(full_name, kind, [flow["kind"] for flow in entry["flows"]])
    if matching[0]["deployment_id"] is None:
        raise Unavailable(
            f"the flow of {full_name}", "provisioning is not complete; apply the manifest again"
        )
    return Target(full_name, matching[0]["kind"], UUID(matching[0]["deployment_id"]))


def parameters_for(services: Services, target: Target, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the given options as parameters of the flow run, without defaults.

    Raises OptionNotTaken for an option that the flow does not have, DeploymentGone if its
    deployment was deleted.
    """
    said = {name: value for name, value in asked.items() if value != UNSAID[name]}
    services.prefect.require_answer()
    view = services.prefect.find_deployment(target.deployment_id)
    if view is None:
        raise DeploymentGone(target.instance)
    known = view.stored["parameter_openapi_schema"]["properties"]
    if strange := [name for name in said if name not in known]:
        raise OptionNotTaken(target.instance, strange)
    return said


def _execute(
    services: Services, target: Target, parameters: dict[str, Any], wait: bool, timeout: float
) -> list[str]:
    """Start the run; with ``wait``, return a line for each instance that did not become READY."""
    started = services.prefect.start_run(target.deployment_id, parameters, name=target.run_name)
    print(
        f"{target.instance}: flow run {started.name}  {run_url(services, started.id)}", flush=True
    )
    return wait_downstream(services, target, started, Patience.of(timeout)) if wait else []


def wait_downstream(
    services: Services, target: Target, started: RunView, patience: Patience
) -> list[str]:
    """Wait for the run and for everything downstream that runs because of it."""
    names, settled = cascade_of(services, target.instance)
    statuses = statuses_of(services, names)
    with Progress() as progress:
        what = f"run of {target.instance}"
        ended = wait_for_run(services, started, what, progress, patience, statuses)
        served = wait_until_served(services, target.instance, progress, patience)
        missing = wait_until_settled(statuses, settled, progress, patience)
    if not served:
        missing = [f"{target.instance} did not run: {ended.message}", *missing]
    if ended.state_name != COMPLETED:
        print(f"{ended.state_name}: {ended.message}")
    emit_rows(STATUS_HEADERS, status_rows(statuses(), utc_now()))
    return missing
