"""``watch`` and ``token``: follow changes, here or in an application."""

from __future__ import annotations

import asyncio
import json as json_text
import sys
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from prefect_instances.cli.commands.arguments import Json, Name, OptionalName, Timeout
from prefect_instances.cli.output import emit_document, emit_json, rich_table, warn
from prefect_instances.cli.session import open_services, utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, status_rows
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports, watching
from prefect_instances.libs.services.views.subscribing import grant_subscription

REDRAW_SECONDS = 0.3
"""Seconds between two reads of the table, at least."""

Print = Callable[[Mapping[str, Any]], None]


def token(
    name: Name,
    project: Annotated[
        bool,
        typer.Option("--project", help="NAME is a project; the token is for all its instances."),
    ] = False,
    user: Annotated[
        str, typer.Option("--user", metavar="ID", help="User that the tokens are for.")
    ] = "instances",
    json: Json = False,
) -> None:
    """Create tokens to subscribe to an instance or a project.

    They are short-lived. Run the command again to refresh them.
    """
    with open_services() as services:
        document = asdict(grant_subscription(services, name, user, project=project))
    emit_json(document) if json else emit_document(document)


def watch(
    name: OptionalName = "",
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on each line for each message.")
    ] = False,
    timeout: Timeout = 0.0,
) -> None:
    """Show changes as they happen.

    On a terminal it is a live table, otherwise one line for each change.
    """
    with open_services() as services:
        if json or not sys.stdout.isatty():
            stopped = _watch_lines(services, name, _print_json if json else _print_line, timeout)
        else:
            stopped = _watch_table(services, name, timeout)
    if stopped:
        warn(f"instances: stopped after {timeout:g} s")


def _watch_lines(services: Services, name: str, say: Print, timeout: float) -> bool:
    async def follow() -> None:
        async with _messages(services, name) as messages:
            async for message in messages:
                say(message)

    return _run(follow(), timeout)


def _messages(services: Services, name: str) -> aclosing[Any]:
    """Watch, and end the connection with the block, not when the loop is already closed."""
    return aclosing(watching.watch(services, watching.scope_of(services, name)))


def _print_json(message: Mapping[str, Any]) -> None:
    print(json_text.dumps(message), flush=True)


def _print_line(message: Mapping[str, Any]) -> None:
    print(line_of(message), flush=True)


def line_of(message: Mapping[str, Any]) -> str:
    """Format a message as one line of text."""
    if message["type"] == "reload":
        return "(watching; `instances status` shows the present state)"
    flow = f".{message['flow_kind']}" if message["flow_kind"] else ""
    head = f"{message['timestamp'][:19]}  {message['name']}{flow}"
    if message["type"] == "instance.gate.opened":
        return f"{head}  gate opened"
    if message["type"] == "instance.run.progress":
        return f"{head}  running for {message['run']['seconds']:.0f} s"
    reason = f"  {message['reason']}" if message["reason"] else ""
    return f"{head}  {message['old_status'] or '-'} → {message['new_status']}{reason}"


def _watch_table(services: Services, name: str, timeout: float) -> bool:
    changed = asyncio.Event()

    def table() -> Any:
        now = utc_now()
        document = reports.status(services.database, now, name=name or None)
        return rich_table(STATUS_HEADERS, status_rows(document, now))

    async def listen() -> None:
        async with _messages(services, name) as messages:
            async for _ in messages:
                changed.set()

    async def draw(live: Live) -> None:
        while True:
            await changed.wait()
            changed.clear()
            live.update(table(), refresh=True)
            await asyncio.sleep(REDRAW_SECONDS)

    async def both(live: Live) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen())
            tasks.create_task(draw(live))

    with Live(table(), console=Console(highlight=False), auto_refresh=False) as live:
        return _run(both(live), timeout)


def _run(work: Any, timeout: float) -> bool:
    """Run until the coroutine ends (return False) or the time is over (return True)."""

    async def limited() -> bool:
        try:
            async with asyncio.timeout(timeout or None):
                await work
        except TimeoutError:
            return True
        return False

    try:
        return asyncio.run(limited())
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
