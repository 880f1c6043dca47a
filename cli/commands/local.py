"""``up``, ``down`` and ``demo``: start and stop the local processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from prefect_instances.cli.commands.lifecycle import Applying, apply_manifest
from prefect_instances.cli.output import WRONG_USAGE, end_not_ready, warn
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.restoring import restore_deployments
from prefect_instances.cli.runtime import stack
from prefect_instances.cli.runtime.home import Home
from prefect_instances.cli.runtime.pages import KINDS
from prefect_instances.cli.runtime.stack import Running
from prefect_instances.cli.session import open_services
from prefect_instances.cli.waiting import Patience
from prefect_instances.libs.core.errors import InstancesError, Unavailable
from prefect_instances.libs.settings import Settings, load_settings

DEMO = Path(__file__).parents[1] / "demo.yaml"
DEMO_SECONDS = 1200.0
WATCH_SECONDS = 1.0
RESTARTS = 5
NAME_WIDTH = 11
RESTART_WINDOW_SECONDS = 300.0


def up(
    database: Annotated[
        str,
        typer.Option(
            "--database",
            metavar="URL",
            help="SQLite or PostgreSQL (postgresql+psycopg://…). Default: a file in the home.",
        ),
    ] = "",
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Port of the Prefect server; 0 takes a free port."
        ),
    ] = 0,
    pool: Annotated[
        str, typer.Option("--pool", metavar="NAME[/TYPE]", help="Work pool that runs the flows.")
    ] = "",
    pages: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="mlflow,evidently",
            help="Also serve the pages of MLflow, Evidently, or both, for the home's stores.",
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return when everything is ready; leave it running."),
    ] = False,
) -> None:
    """Start a Prefect server and a worker.

    --with also starts the pages of MLflow and Evidently. If PREFECT_API_URL or the active Prefect
    profile names a server, that server is used. Without --detach the command keeps running,
    restarts processes that die, and stops all at Ctrl-C.
    """
    settings = load_settings()
    shown = _pages(pages or [])
    request = stack.UpRequest(port=port, database_url=database, pool=pool, pages=shown)
    with _handle_termination():
        with Progress() as progress:
            running = stack.up(settings, request, progress.say)
        _announce(settings, running)
        if detach or not running.started:
            _restore()
            return
        try:
            # Ctrl-C is the normal end.
            with suppress(KeyboardInterrupt):
                _restore()
                _watch(settings, running)
        finally:
            _end(settings, running.started)


def _restore() -> None:
    """Restore deployments that Prefect has lost, and say so; what is up stays up if that fails."""
    try:
        with Progress() as progress:
            said = restore_deployments(progress)
    except InstancesError as error:
        said = f"deployments of instances are not restored: {error}"
    if said:
        print(said, flush=True)


def _pages(words: list[str]) -> tuple[str, ...]:
    """Return the kinds of pages that ``--with`` names; exit with wrong usage for any other."""
    names = [name.strip() for word in words for name in word.split(",")]
    unknown = sorted({repr(name) for name in names if name not in KINDS})
    if unknown:
        warn(f"instances: --with knows {', '.join(KINDS)}; not {', '.join(unknown)}")
        raise typer.Exit(WRONG_USAGE)
    return tuple(dict.fromkeys(names))


def down() -> None:
    """Stop the processes that `up` started."""
    if not stack.down(load_settings(), print):
        print("nothing was running")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running.")] = False,
) -> None:
    """Run an example project on real market data.

    Start what is needed, provision the project, wait until every instance is READY, and print the
    statuses. Without --keep, then stop what was started; the data stays in the home.
    """
    settings = load_settings()
    with _handle_termination():
        with Progress() as progress:
            running = stack.up(settings, stack.UpRequest(), progress.say)
        try:
            missing = _apply_demo()
        finally:
            if not keep:
                _end(settings, running.started)
    if keep:
        print(f"Prefect: {running.server.ui_url}   end it with `instances down`")
    end_not_ready(missing)


def _apply_demo() -> list[str]:
    with open_services() as services:
        return apply_manifest(services, DEMO, Applying(wait=True), Patience.of(DEMO_SECONDS))


def _announce(settings: Settings, running: Running) -> None:
    """Print one line for each part that is up."""
    state = "ready" if running.started else "already up"
    logs = settings.home / "logs"
    origin = f"log {logs / 'server.log'}" if running.server.embedded else "(yours)"
    lines = [
        ("Prefect", f"{running.server.ui_url}  {origin}"),
        ("worker", f"pool {settings.pool}  log {logs / 'worker.log'}"),
        *(
            (KINDS[role].title, f"{url}  log {logs / role}.log")
            for role, url in running.pages.items()
        ),
        ("home", f"{settings.home}  {state}"),
    ]
    for what, text in lines:
        print(f"{what:<{NAME_WIDTH}}{text}", flush=True)


def _watch(settings: Settings, running: Running) -> None:
    """Wait for Ctrl-C or ``instances down``, and restart processes that die.

    Raises Unavailable if they die repeatedly.
    """
    home, restarts = Home(settings.home), [0.0] * RESTARTS
    print("Ctrl-C ends it", flush=True)
    while not stack.was_stopped(home, running):
        dead = stack.dead_roles(home, running)
        if dead:
            restarts = _count_restart(restarts, dead)
            warn(f"{' and '.join(dead)} ended unexpectedly; starting again")
            stack.up(settings, stack.UpRequest(), lambda _: None)
        time.sleep(WATCH_SECONDS)


def _count_restart(restarts: list[float], dead: list[str]) -> list[float]:
    """Add a restart to the recent ones; raise Unavailable if there are too many of them."""
    now = time.monotonic()
    if restarts[0] and now - restarts[0] < RESTART_WINDOW_SECONDS:
        raise Unavailable(
            " and ".join(dead), f"it died {RESTARTS + 1} times within a few minutes; see its log"
        )
    return [*restarts[1:], now]


def _end(settings: Settings, roles: tuple[str, ...]) -> None:
    """Stop the roles, last started first; ignore a second Ctrl-C, so that all of them stop."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stack.down(settings, warn, tuple(reversed(roles)))
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _handle_termination() -> Iterator[None]:
    """Handle SIGTERM and a closed terminal as Ctrl-C, so that the command cleans up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Under nohup, SIGHUP is ignored and must stay ignored.
    heeded = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    previous = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
