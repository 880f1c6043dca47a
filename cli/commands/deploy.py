"""``deploy``: prepare the database and a Prefect server for this project."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.output import emit_json
from prefect_instances.cli.runtime import database, serving
from prefect_instances.cli.runtime.home import Home
from prefect_instances.libs.adapters.prefect import Change, read_configured_api_url
from prefect_instances.libs.adapters.prefect.inspection import Inspector
from prefect_instances.libs.db import current_revision, head_revision
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.wiring import connect


def deploy(
    api_url: Annotated[
        str, typer.Option("--api-url", metavar="URL", help="API of the Prefect server.")
    ] = "",
    pool: Annotated[
        str, typer.Option("--pool", metavar="NAME", help="Work pool; INSTANCES_POOL if left out.")
    ] = "",
    pool_type: Annotated[
        str,
        typer.Option(
            "--pool-type",
            metavar="TYPE",
            help="Type of the pool if it is created; INSTANCES_POOL_TYPE if left out.",
        ),
    ] = "",
    notify: Annotated[
        str,
        typer.Option(
            "--notify",
            metavar="BLOCK",
            help="Notification block (slack-webhook/team) that receives every missed deadline.",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Prepare database and Prefect server.

    Migrates the database and registers the installed definitions in it; makes the work pool, block
    types, automations and lifecycle deployments. Uses the server of Prefect's own settings, else
    the one that ``instances up`` started. Run it before ``prefect deploy`` and after every upgrade;
    a second run changes nothing.
    """
    from prefect_instances.deployments.apply import apply

    settings = load_settings()
    wanted = {
        "prefect_api_url": api_url or read_configured_api_url() or settings.prefect_api_url,
        "pool": pool or settings.pool,
        "pool_type": pool_type or settings.pool_type,
    }
    settings = settings.model_copy(update=wanted)
    with pointing_to(settings.prefect_api_url), connect(settings) as services:
        change = prepare_database(services)
        applied = apply(
            services.prefect,
            settings.pool,
            settings.pool_type,
            settings.chosen_sweep_seconds,
            notify,
        )
    if json:
        found = [{"kind": each.kind, "name": each.name, "change": each.change} for each in applied]
        emit_json({"database": change, "applied": found})
        return
    print(f"{change:<9}  database")
    for each in applied:
        print(each)


@contextmanager
def pointing_to(api_url: str) -> Iterator[None]:
    """Point this process's Prefect client at a server, if one is given."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url} if api_url else {}):
        yield


def prepare_database(services: Services) -> Change:
    """Migrate the database, check that the server serves no other one, register definitions.

    Returns what that did to the schema. Nothing is changed if the server does not answer.
    """
    settings = services.settings
    with Inspector.connect(services.prefect.api_url) as inspector:
        inspector.work_pool(settings.pool)
        if not settings.database_block:
            Home(settings.home).prepare()
        before = current_revision(services.database)
        database.bring_up_to_date(services.database, _say)
        serving.claim_server(inspector, services.identity(), settings.pool)
    database.register_definitions(services, _say)
    if before is None:
        return Change.CREATED
    return Change.UNCHANGED if before == head_revision() else Change.UPDATED


def _say(line: str) -> None:
    print(line, file=sys.stderr)
