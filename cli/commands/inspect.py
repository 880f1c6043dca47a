"""``list``, ``show``, ``status``, ``freshness`` and ``why``: look at instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Json, Name, OptionalName
from prefect_instances.cli.obstacles import print_obstacles
from prefect_instances.cli.output import emit_document, emit_json, emit_rows, format_cell
from prefect_instances.cli.runtime.server import Server, configured_server
from prefect_instances.cli.session import open_database, utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, freshness_table, status_rows
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.rendering import links
from prefect_instances.libs.services.views import explaining, reports
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.specs.reading.names import as_uuid

LISTED = ("id", "name", "project", "type", "lifecycle", "status", "freshness")
LIST_HEADERS = ("project", "instance", "type", "lifecycle", "status", "freshness")


def list_instances(json: Json = False) -> None:
    """List all instances, one on each line."""
    with open_database() as database:
        document = reports.status(database, utc_now())
    entries = [{key: entry[key] for key in LISTED} for entry in document["instances"]]
    if json:
        emit_json({"instances": entries})
        return
    columns = ("project", "name", "type", "lifecycle", "status", "freshness")
    emit_rows(LIST_HEADERS, [[format_cell(entry[key]) for key in columns] for entry in entries])


def show(name: Name, json: Json = False) -> None:
    """Show one instance in detail."""
    with open_database() as database:
        document = reports.show(database, utc_now(), name)
    settings, handles = load_settings(), document["handles"]
    document["links"] = links.link_instance(settings, handles)
    server = configured_server(settings) or Server(settings.prefect_api_url, embedded=True)
    if server.api_url:
        document["links"] |= links.link_flow_runs(server.ui_url, handles)
    emit_json(document) if json else emit_document(document)


def status(name: OptionalName = "", json: Json = False) -> None:
    """Show status, freshness and reason of instances."""
    now = utc_now()
    with open_database() as database:
        document = reports.status(database, now, name=name or None)
    if json:
        emit_json(document)
        return
    emit_rows(STATUS_HEADERS, status_rows(document, now))


def freshness(name: Name, json: Json = False) -> None:
    """Show the freshness of every upstream, and root causes."""
    now = utc_now()
    with open_database() as database:
        document = explaining.freshness(database, now, name)
    if json:
        emit_json(document)
        return
    print(f"{document['instance']}: upstreams {'fresh' if document['fresh'] else 'not fresh'}")
    if document["upstreams"]:
        emit_rows(*freshness_table(document, now))
    blocking = [entry for entry in document["upstreams"] if entry["blocking"]]
    for sentence in dict.fromkeys(entry["why"] for entry in blocking):
        print(sentence)
    _print_remedies([root for entry in blocking for root in entry["roots"]])


def why(
    name: Name,
    flow: Annotated[
        str, typer.Option("--flow", metavar="KIND", help="Kind of flow. Default: all flows.")
    ] = "",
    json: Json = False,
) -> None:
    """Explain why an instance is not READY.

    It shows the root cause, what would unblock the instance, and when it runs next.
    """
    with open_database() as database:
        document = explaining.why(database, utc_now(), name, flow)
        obstacles = [] if document["ready"] else _look_at_prefect(database, name)
    if json:
        emit_json({**document, "obstacles": obstacles})
        return
    for entry in document["flows"]:
        print(entry["why"])
        _print_remedies(entry["roots"])
        if entry["next_at"] and not entry["roots"]:
            print(f"  runs next at {entry['next_at']}")
    print_obstacles(obstacles)


def _look_at_prefect(database: Database, name: str) -> list[str]:
    """Return what in Prefect keeps an instance that is not READY from running."""
    from prefect_instances.cli.obstacles import find_obstacles
    from prefect_instances.libs.services.views import reports
    from prefect_instances.libs.settings import load_settings

    (entry,) = reports.status(database, utc_now(), name=name)["instances"]
    deployments = {
        f"{entry['project']}/{entry['name']}.{flow['kind']}": as_uuid(flow["deployment_id"] or "")
        for flow in entry["flows"]
    }
    return find_obstacles(load_settings(), deployments)


def _print_remedies(roots: Sequence[Mapping[str, Any]]) -> None:
    for flow, what in explaining.remedies(roots):
        print(f"  to unblock {flow}: {what}")
