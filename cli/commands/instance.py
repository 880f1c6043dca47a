"""``update``, ``pause``, ``resume``, ``promote``, ``history`` and ``diff``: change an instance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Audited, Json, Name, PlanOnly
from prefect_instances.cli.commands.lifecycle import print_plan
from prefect_instances.cli.output import emit_json, emit_rows
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import open_database, open_services
from prefect_instances.cli.waiting import Patience, submit, wait_for_run
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.differences import Difference
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.services.lifecycle.manifests import plan_one
from prefect_instances.libs.services.lifecycle.promotion import build_promoted_spec
from prefect_instances.libs.services.views import history as recorded
from prefect_instances.libs.specs import parse_spec, spec_document
from prefect_instances.libs.specs.manifests.text import read_json, read_yaml

SpecFile = Annotated[
    Path,
    typer.Option("--spec", exists=True, dir_okay=False, readable=True, help="YAML or JSON file."),
]
HISTORY_HEADERS = ("version", "created", "output", "runs", "changes")


def update(
    name: Name,
    spec: Annotated[
        Path | None,
        typer.Option(
            "--spec",
            exists=True,
            dir_okay=False,
            readable=True,
            help="YAML or JSON file with the new configuration. Default: the saved block.",
        ),
    ] = None,
    plan: PlanOnly = False,
    json: Json = False,
) -> None:
    """Change the configuration of an instance.

    It comes from a file, or from the edited block of the instance.
    """
    with open_services() as services:
        document = _own_document(services, name, read_document(spec) if spec else None)
        wanted = parse_spec(document)
        planned = plan_one(services, wanted)
        print_plan(planned, json)
    if not plan and not planned.is_empty:
        submit_and_wait("update-instance", {"instance": spec_document(wanted)}, f"update of {name}")


def _own_document(services: Any, name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the instance's document, from the file or from its block."""
    from prefect_instances import blocks  # noqa: F401  # a document becomes an object of a class that is imported

    with services.database.read() as session:
        named = get_instance(session, name)
    if given is not None:
        own = {"name": named.name, "project": named.project, "type": named.type}
        return {**own, **given}
    slug, document = ids.BLOCK_OF_TYPE[named.type], ids.block_document_name
    block = services.prefect.load_block(f"{slug}/{document(named.project, named.name)}")
    return dict(spec_document(block.spec()))


def pause(name: Name) -> None:
    """Pause an instance.

    Its schedules stop and its gates do not open. Requests and new inputs are remembered.
    """
    _require_instance(name)
    submit_and_wait("pause-instance", {"instance": name}, f"pause of {name}", f"{name} paused")


def _require_instance(name: str) -> None:
    """Raise NotFound, with similar names, at once and not from a flow run."""
    with open_database() as database, database.read() as session:
        get_instance(session, name)


def resume(name: Name) -> None:
    """Resume a paused instance.

    If requests or new inputs came meanwhile, it runs once.
    """
    _require_instance(name)
    submit_and_wait(
        "resume-instance", {"instance": name}, f"resumption of {name}", f"{name} resumed"
    )


def promote(
    name: Name,
    spec: SpecFile,
    as_: Annotated[str, typer.Option("--as", metavar="SIGNAL", help="Name of the new signal.")],
    audited: Audited = False,
    plan: PlanOnly = False,
    json: Json = False,
) -> None:
    """Create a signal from a dataset.

    It is refused if the stored data do not satisfy the contract in the file.
    """
    document = read_document(spec)
    contract = document.get("signal", document)
    promote_to_signal(name, as_, contract, plan, json, audited=audited)


def promote_to_signal(  # what the two commands hand on
    name: str, as_: str, contract: Mapping[str, Any], plan: bool, json: bool, *, audited: bool
) -> None:
    """Show what the promotion would create; unless ``plan``, run the flow that creates it."""
    with open_services() as services:
        spec = build_promoted_spec(services, name, as_, contract, audited=audited)
        print_plan(plan_one(services, spec), json)
    if plan:
        return
    parameters: dict[str, Any] = {"dataset": name, "name": as_, "signal": dict(contract)}
    if audited:
        parameters["audited"] = True
    done = "" if json else f"{name} promoted to {as_}"
    submit_and_wait("promote-dataset", parameters, f"promotion of {name}", done)


def history(name: Name, json: Json = False) -> None:
    """List the configurations of an instance.

    Each line says what changed and how many runs used the configuration.
    """
    with open_database() as database:
        document = recorded.history(database, name)
    if json:
        emit_json(document)
        return
    emit_rows(HISTORY_HEADERS, [_version_row(entry) for entry in document["versions"]])


def diff(
    name: Name,
    first: Annotated[
        int | None,
        typer.Argument(metavar="[V1]", help="Version. Default: the one before the last."),
    ] = None,
    last: Annotated[
        int | None, typer.Argument(metavar="[V2]", help="Version. Default: the last.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two configurations of an instance."""
    with open_database() as database:
        document = recorded.diff(database, name, first, last)
    if json:
        emit_json(document)
        return
    effect = "another output" if document["affects_output"] else "the same output"
    print(f"version {document['from']} -> {document['to']}: {effect}")
    for change in document["changes"]:
        print(f"    {_change(change)}")


def _version_row(entry: Mapping[str, Any]) -> list[str]:
    changes = "; ".join(_change(change) for change in entry["changes"])
    effect = "changed" if entry["affects_output"] else "same"
    created = entry["created_at"][:19].replace("T", " ")
    return [str(entry["version"]), created, effect, str(entry["runs"]), changes or "provisioned"]


def _change(change: Mapping[str, Any]) -> str:
    return str(Difference(**change))


def read_document(path: Path) -> dict[str, Any]:
    """Read the one document of a file; raise InvalidSpec if it is not one mapping."""
    documents, problems = (read_json if path.suffix == ".json" else read_yaml)(path.read_text())
    if problems:
        raise InvalidSpec(problems)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise InvalidSpec([Problem(path.name, "must contain one document of keys and values")])
    return dict(documents[0])


def submit_and_wait(flow: str, parameters: Mapping[str, Any], what: str, done: str = "") -> None:
    """Run a lifecycle flow to its end, then print ``done``."""
    with open_services() as services, Progress() as progress:
        started = submit(services, f"{flow}/default", parameters)
        wait_for_run(services, started, what, progress, Patience.of(0))
    if done:
        print(done)
