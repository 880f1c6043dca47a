"""``list``, ``show``, ``status``, ``freshness`` and ``why``: look at instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from prefect_instances.cli.commands.arguments import Json, Name, OptionalName
from prefect_instances.cli.obstacles import print_obstacles
from prefect_instances.cli.output import emit_document, emit_json, emit_rows, format_cell, warn
from prefect_instances.cli.runtime.server import Server, configured_server
from prefect_instances.cli.session import open_database, utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, freshness_table, status_rows
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.marks import read_swept
from prefect_instances.libs.services.rendering import links
from prefect_instances.libs.services.views import explaining, reports
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.specs.reading.names import as_uuid

MISSED_SWEEPS = 5
"""After how many intervals without a sweep `status` looks for the cause in Prefect."""

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
        obstacles = _look_if_unswept(database, now) if document["instances"] else []
    emit_json(document) if json else emit_rows(STATUS_HEADERS, status_rows(document, now))
    for line in obstacles:
        warn(f"instances: {line}")


def _look_if_unswept(database: Database, now: datetime) -> list[str]:
    """Return what is wrong in Prefect if no sweep has come for long; else Prefect is not asked."""
    settings = load_settings()
    with database.read() as session:
        swept_at = read_swept(session)
    if swept_at is None or now - swept_at < MISSED_SWEEPS * timedelta(
        seconds=settings.sweep_seconds
    ):
        return []
    from prefect_instances.cli.obstacles import find_obstacles
    from prefect_instances.libs.services.lifecycle.observing import recorded_deployments

    return find_obstacles(settings, recorded_deployments(database)) or [
        f"no sweep has come since {swept_at:%Y-%m-%d %H:%M} UTC, so what is lost is not started "
        "again; `instances doctor` shows why"
    ]


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
        changed = _list_changed_code(database, name)
        obstacles = [] if document["ready"] else _look_at_prefect(database, name)
    if json:
        emit_json({**document, "changed_code": changed, "obstacles": obstacles})
        return
    for entry in document["flows"]:
        print(entry["why"])
        _print_remedies(entry["roots"])
        if entry["next_at"] and not entry["roots"]:
            print(f"  runs next at {entry['next_at']}")
    for line in changed:
        print(f"  changed code: {line}")
    print_obstacles(obstacles)


def _list_changed_code(database: Database, name: str) -> list[str]:
    """List the definitions of an instance whose code has changed under the same version."""
    from prefect_instances.libs.db.repositories.resources import get_instance
    from prefect_instances.libs.definitions.installed import discover
    from prefect_instances.libs.services.composition.changed_code import list_changed_of

    with database.read() as session:
        return list_changed_of(session, discover(), get_instance(session, name))


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
