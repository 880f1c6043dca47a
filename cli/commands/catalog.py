"""``definitions``: list and show the available definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.output import emit_document, emit_json, emit_rows, warn
from prefect_instances.cli.session import NothingHere, open_database, utc_now
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.definitions import Registry
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.services.composition.catalog import (
    Registered,
    add_saved_macros,
    register_all,
)

if TYPE_CHECKING:
    Ids = Mapping[Any, Registered]

app = typer.Typer(
    help="List and show installed definitions and saved macros.",
    add_completion=False,
    rich_markup_mode=None,
)
HEADERS = ("kind", "name", "version", "description")


class NoSuchDefinition(PermanentError):
    """No definition has this name; ``instances definitions`` lists the names."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        super().__init__(
            f"no definition is named {name!r}{suggest_closest(name, known)}; "
            "`instances definitions` lists the names"
        )


@app.callback(invoke_without_command=True)
def definitions(context: typer.Context, json: Json = False) -> None:
    """List and show installed definitions and saved macros."""
    if context.invoked_subcommand is None:
        list_definitions(json=json)


@app.command("list")
def list_definitions(json: Json = False) -> None:
    """List installed definitions and saved macros; report broken ones on stderr.

    The first listing in a home registers those that are new, so that each has an id.
    """
    registry, ids = _registry()
    entries = [{**_entry(each), **_ids(each, ids)} for each in registry.list()]
    if json:
        emit_json({"definitions": entries, "broken": _broken(registry)})
        return
    headers = (*HEADERS, "version id") if ids else HEADERS
    keys = (*HEADERS, "definition_version_id") if ids else HEADERS
    emit_rows(headers, [[entry.get(key, "") for key in keys] for entry in entries])
    for broken in registry.broken:
        warn(f"broken: {broken}")


@app.command("show")
def show_definition(
    name: str = typer.Argument(metavar="NAME", help="Name of a definition."), json: Json = False
) -> None:
    """Show all versions of one definition: ids, parameters, contracts and rules."""
    registry, ids = _registry()
    found = [each for each in registry.list() if each.name == name]
    if not found:
        raise NoSuchDefinition(name, {each.name for each in registry.list()})
    document = {"definitions": [{**each.describe(), **_ids(each, ids)} for each in found]}
    emit_json(document) if json else emit_document(document)


def _registry() -> tuple[Registry, Ids]:
    """Return all definitions, and their ids if there is a database; register those without."""
    registry = discover()
    try:
        with open_database() as database:
            with database.read() as session:
                registry = add_saved_macros(session, registry)
            ids, refused = database.transact(lambda s: register_all(s, registry, utc_now()))
    except NothingHere:
        return registry, {}
    except Unavailable as error:
        warn(f"ids and saved macros are not shown: {error}")
        return registry, {}
    for each in refused:
        warn(str(each))
    return registry, ids


def _ids(definition: Any, ids: Ids) -> dict[str, str]:
    """Return the ids that documents refer to; empty if the definition has none."""
    found = ids.get(definition)
    if found is None:
        return {}
    return {
        "definition_resource_id": str(found.resource_id),
        "definition_version_id": str(found.version_id),
    }


def _entry(definition: Any) -> dict[str, str]:
    summary = (definition.__doc__ or "").strip().splitlines() or [""]
    return {
        "kind": definition.kind.value,
        "name": definition.name,
        "version": definition.version,
        "description": summary[0],
    }


def _broken(registry: Registry) -> list[dict[str, str]]:
    return [
        {"entry_point": each.entry_point, "target": each.target, "error": each.error}
        for each in registry.broken
    ]
