"""``reconcile``, ``export`` and ``schema``: compare and export what exists."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.output import FAILED, emit_json, emit_rows, warn
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_database, open_services
from prefect_instances.cli.waiting import Patience, submit, wait_for_run
from prefect_instances.libs.services.lifecycle.exporting import export as exported
from prefect_instances.libs.specs.manifests.schema import FILE_NAME, manifest_schema
from prefect_instances.libs.specs.manifests.text import write_yaml

RECONCILE = "reconcile/default"
ARTIFACT, WHOLE = "reconcile", "reconcile-whole"
FINDING = ("kind", "subject", "detail", "remedy")
HEADERS = ("subject", "divergence", "part", "difference", "outcome", "remedy")


def reconcile(
    remove_unknown: Annotated[
        bool,
        typer.Option(
            "--remove-unknown", help="Delete deployments that belong to no instance of this home."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Repair or report what differs from the database.

    It compares the database with Prefect, MLflow and Evidently, and repairs what is safe. Exits
    with 1 if a repair failed.
    """
    with open_services() as services, Progress() as progress:
        started = submit(services, RECONCILE, {"remove_unknown": remove_unknown})
        wait_for_run(services, started, "reconcile", progress, Patience.of(0))
        whole = services.prefect.read_artifact(WHOLE, started.id)
        table = whole or services.prefect.read_artifact(ARTIFACT, started.id) or []
    found = [row for row in table if "outcome" in row]
    if json:
        emit_json({"diverged": found})
    elif found:
        emit_rows(HEADERS, [[row[header] for header in HEADERS] for row in found])
    else:
        print("nothing differs")
    if any(row["outcome"].startswith("failed") for row in found):
        raise typer.Exit(FAILED)


def verify(json: Json = False) -> None:
    """Compare database, Prefect, MLflow, Evidently and disk; change nothing.

    Shows what is lost, doubled, stuck, different or orphaned, and what mends it. Exits with 1 if
    there is more than orphans, or if something could not be looked at.
    """
    from prefect_instances.flows.execution_flows import build_plan
    from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
    from prefect_instances.libs.services.lifecycle.verifying import verify as verify_all

    with open_services() as services:
        services.prefect.require_answer()
        settings = services.settings
        plans = lifecycle_plans(settings.pool, settings.chosen_sweep_seconds)
        found = verify_all(services, partial(build_plan, services), plans)
    rows = [finding.row() for finding in found.findings]
    if json:
        emit_json({"findings": rows, "unseen": list(found.unseen)})
    elif rows:
        emit_rows(FINDING, [[str(row[header]) for header in FINDING] for row in rows])
    elif found.clean:
        print("nothing is lost, doubled, stuck or orphaned")
    for text in () if json else found.unseen:
        warn(f"not looked at: {text}")
    if not found.clean:
        raise typer.Exit(FAILED)


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names of instances. Default: all instances."),
    ] = None,
    json: Json = False,
) -> None:
    """Print a manifest of the existing instances.

    Applying it changes nothing.
    """
    with open_database() as database:
        document = exported(database, names or ())
    if json:
        emit_json(document)
        return
    print(f"# yaml-language-server: $schema={FILE_NAME}")
    print(write_yaml(document), end="")


def schema() -> None:
    """Print the JSON schema of manifests, for editors."""
    emit_json(manifest_schema())
