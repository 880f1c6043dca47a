"""``definitions``: list and show the available definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.output import emit_document, emit_json, emit_rows, warn
from prefect_instances.cli.session import NothingHere, open_database
from prefect_instances.libs.core.errors import PermanentError, Unavailable

if TYPE_CHECKING:
    from prefect_instances.libs.definitions import Registry

HEADERS = ("kind", "name", "version", "description")


class NoSuchDefinition(PermanentError):
    """No definition has this name; ``instances definitions`` lists the names."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"no definition is named {name!r}; `instances definitions` lists the names"
        )


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(
        help="List and show installed definitions and saved macros.", rich_markup_mode=None
    )
    group.callback(invoke_without_command=True)(definitions)
    group.command("list")(list_definitions)
    group.command("show")(show_definition)
    app.add_typer(group, name="definitions")


def definitions(context: typer.Context, json: Json = False) -> None:
    """List and show installed definitions and saved macros."""
    if context.invoked_subcommand is None:
        list_definitions(json=json)


def list_definitions(json: Json = False) -> None:
    """List installed definitions and saved macros; report broken ones on stderr."""
    registry = _registry()
    if json:
        emit_json(
            {"definitions": [_entry(kind) for kind in registry.list()], "broken": _broken(registry)}
        )
        return
    rows = [[entry[key] for key in HEADERS] for entry in map(_entry, registry.list())]
    emit_rows(HEADERS, rows)
    for broken in registry.broken:
        warn(f"broken: {broken}")


def show_definition(
    name: str = typer.Argument(metavar="NAME", help="Name of a definition."), json: Json = False
) -> None:
    """Show all versions of one definition: parameters, contracts and rules."""
    found = [each for each in _registry().list() if each.name == name]
    if not found:
        raise NoSuchDefinition(name)
    document = {"definitions": [each.describe() for each in found]}
    emit_json(document) if json else emit_document(document)


def _registry() -> Registry:
    """Return the registry of installed definitions, with saved ones if there is a database."""
    from prefect_instances.libs.definitions.installed import discover
    from prefect_instances.libs.services.composition.catalog import with_saved

    registry = discover()
    try:
        with open_database() as database, database.read() as session:
            return with_saved(session, registry)
    except NothingHere:
        return registry
    except Unavailable as error:
        warn(f"saved macros are not shown: {error}")
        return registry


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
