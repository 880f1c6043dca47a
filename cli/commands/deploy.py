"""``deploy``: prepare a Prefect server for this project."""

from __future__ import annotations

from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json
from prefect_instances.cli.output import emit_json
from prefect_instances.libs.adapters.prefect import PrefectGateway, configured_api_url
from prefect_instances.libs.settings import load_settings


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
    """Prepare a Prefect server: work pool, block types, automations and lifecycle deployments.

    Uses the server of Prefect's own settings, else the one that ``instances up`` started. Run it
    before ``prefect deploy`` and after every upgrade; a second run changes nothing.
    """
    from prefect_instances.deployments.apply import apply

    settings = load_settings()
    address = api_url or configured_api_url() or settings.prefect_api_url or None
    with PrefectGateway.connect(address) as gateway:
        applied = apply(
            gateway,
            pool or settings.pool,
            pool_type or settings.pool_type,
            settings.chosen_sweep_seconds,
            notify,
        )
    if json:
        found = [{"kind": each.kind, "name": each.name, "change": each.change} for each in applied]
        emit_json({"applied": found})
        return
    for each in applied:
        print(each)
