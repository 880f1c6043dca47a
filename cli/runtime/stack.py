"""Starting and stopping the processes of a home, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prefect_instances.cli.runtime import database, pages, processes, server, serving, worker
from prefect_instances.cli.runtime.home import Home
from prefect_instances.cli.runtime.server import Server
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.adapters.prefect.inspection import Inspector
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.db import Database
from prefect_instances.libs.settings import Settings, load_settings
from prefect_instances.libs.wiring import connect

Say = Callable[[str], None]
"""A function that shows one line to the person who waits."""

PORT_ATTEMPTS = 3
ADVICE = (
    "check that it runs and that PREFECT_API_AUTH_STRING or PREFECT_API_KEY is correct, "
    "or unset PREFECT_API_URL to start your own server"
)
WORKER_GRACE_SECONDS = 20.0
SERVER_GRACE_SECONDS = 10.0
ROLES = (worker.ROLE, *pages.KINDS, server.ROLE)
"""All roles in the order in which they end: the worker first, because its runs must report."""


@dataclass(frozen=True, slots=True)
class UpRequest:
    """The choices that a person gave to ``up``; empty values keep the last choice.

    ``pages`` are keys of ``pages.KINDS``.
    """

    port: int = 0
    database_url: str = ""
    pool: str = ""
    pages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """The server that ``up`` uses, the roles that it started, and the pages' addresses by role."""

    server: Server
    started: tuple[str, ...]
    pages: Mapping[str, str] = field(default_factory=dict)


def up(settings: Settings, request: UpRequest, say: Say) -> Running:
    """Start every process of the home that does not run, in order, and wait until all are ready.

    Raises Unavailable if a part does not start; the parts that this call started are ended again.
    """
    # Before anything is started, because the person must correct it first.
    pages.require_own_stores(settings, request.pages)
    if request.database_url:
        database.check(database.read_url(request.database_url))
    home = Home(settings.home)
    home.prepare()
    with home.lock(on_wait=lambda: say("waiting for another command on this home")):
        started: list[str] = []
        with _end_on_failure(home, started):
            return _up(home, request, say, started)


def _up(home: Home, request: UpRequest, say: Say, started: list[str]) -> Running:
    if request.pool:
        # A worker polls only the pool that it was started for.
        processes.stop(home, worker.ROLE, WORKER_GRACE_SECONDS)
    settings = _remember_pool(home, request)
    # Nothing waits for the pages, so they start in parallel.
    kinds = _launch_pages(home, settings, request, say, started)
    found = _ensure_server(home, settings, request, say, started)
    with using(found):
        # Also if all is up: this restores what was deleted in Prefect.
        settings = _prepare(home, found, request, say)
        _ensure_worker(home, settings, found, say, started)
    return Running(found, tuple(started), _wait_for_pages(home, kinds, say))


def down(settings: Settings, say: Say, roles: tuple[str, ...] = ROLES) -> list[str]:
    """End what ``up`` started, in the order of ``roles``; return the roles that were ended."""
    home = Home(settings.home)
    if not home.run.is_dir():
        return []
    with home.lock(on_wait=lambda: say("waiting for another command on this home")):
        ended = [role for role in roles if _stop(home, role)]
    for role in ended:
        say(f"{role} stopped")
    return ended


def _stop(home: Home, role: str) -> bool:
    """End a role; return True if it ran."""
    grace = WORKER_GRACE_SECONDS if role == worker.ROLE else SERVER_GRACE_SECONDS
    ended = processes.stop(home, role, grace)
    pages.forget(home, role)
    return ended


def dead_roles(home: Home, running: Running) -> list[str]:
    """Return the roles of ``running`` whose process has ended."""
    return [role for role in _roles(running) if processes.alive(home, role) is None]


def was_stopped(home: Home, running: Running) -> bool:
    """Return True if ``down`` ended any role: it removes the record before it ends the process."""
    return any(not processes.record_path(home, role).exists() for role in _roles(running))


def _roles(running: Running) -> list[str]:
    own = [server.ROLE] if running.server.embedded else []
    return [*own, worker.ROLE, *running.pages]


def find_server(settings: Settings) -> Server:
    """Return the server that commands use; raise Unavailable if none is configured or started."""
    configured = server.configured_server(settings)
    if configured is not None:
        return configured
    if not settings.prefect_api_url:
        raise Unavailable("the Prefect server", "start it with `instances up`")
    embedded = settings.prefect_api_url == server.embedded_url(settings.port)
    return Server(settings.prefect_api_url, embedded=embedded)


@contextmanager
def using(found: Server) -> Iterator[None]:
    """Point this process's Prefect client at ``found`` in a ``with`` block."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # Its messages ("Created a new engine") are of no use to a person at a command.
    logging.getLogger("prefect").setLevel(logging.WARNING)
    with temporary_settings({PREFECT_API_URL: found.api_url}):
        yield


def _remember_pool(home: Home, request: UpRequest) -> Settings:
    """Save the requested work pool, ``name`` or ``name/type``."""
    if request.pool:
        name, _, type_ = request.pool.partition("/")
        home.remember(pool=name, **({"pool_type": type_} if type_ else {}))
    return load_settings(home=home.path)


def _launch_pages(
    home: Home, settings: Settings, request: UpRequest, say: Say, started: list[str]
) -> list[pages.Kind]:
    """Start the wanted pages that do not run; return all wanted kinds."""
    kinds = pages.select_kinds(home, request.pages)
    for kind in kinds:
        if processes.alive(home, kind.role) is None:
            say(f"starting {kind.title}'s pages")
            started.append(kind.role)
            pages.launch(home, settings, kind)
    return kinds


def _wait_for_pages(home: Home, kinds: list[pages.Kind], say: Say) -> dict[str, str]:
    found = {}
    for kind in kinds:
        say(f"waiting for {kind.title}'s pages")
        found[kind.role] = pages.wait(home, kind)
    return found


def _ensure_server(
    home: Home, settings: Settings, request: UpRequest, say: Say, started: list[str]
) -> Server:
    configured = server.configured_server(settings)
    if configured is not None:
        if request.port:
            raise PermanentError(
                f"--port applies only to an embedded server, but {configured.api_url} is configured"
            )
        _require_answer(configured)
        home.remember(prefect_api_url=configured.api_url)
        return configured
    found = server.running(home, settings)
    if found is None:
        say("starting the Prefect server")
        started.append(server.ROLE)
        return _launch(home, settings, request, say)
    if request.port and request.port != settings.port:
        raise Unavailable(
            f"port {request.port}",
            f"the server of this home already runs on {settings.port}; `instances down` first",
        )
    server.wait_healthy(home, found)
    return found


def _require_answer(configured: Server) -> None:
    """Raise Unavailable if a server that we do not start does not answer."""
    with using(configured), PrefectGateway.connect() as gateway:
        if gateway.health() is None:
            raise Unavailable("the Prefect server", f"no answer at {configured.api_url}; {ADVICE}")


def _launch(home: Home, settings: Settings, request: UpRequest, say: Say) -> Server:
    """Start the server; if another process takes the chosen free port first, choose another."""
    for attempt in range(1, PORT_ATTEMPTS + 1):
        launched = server.launch(home, settings, request.port)
        if attempt == 1:
            _make_ready(settings, request, say)
        try:
            server.wait_healthy(home, launched)
        except Unavailable:
            processes.stop(home, server.ROLE, SERVER_GRACE_SECONDS)
            if attempt == PORT_ATTEMPTS or request.port or not server.lost_port(launched):
                raise
        else:
            return launched
    raise AssertionError("unreachable: the last attempt returns or raises")


def _make_ready(settings: Settings, request: UpRequest, say: Say) -> None:
    """Prepare what needs no server while it starts: the imports, and the home's own database."""
    from prefect_instances.deployments.apply import block_classes

    block_classes()
    if settings.database_url and not request.database_url:
        own = Database(settings.database_url)
        try:
            database.bring_up_to_date(own, say)
        finally:
            own.close()


def _prepare(home: Home, found: Server, request: UpRequest, say: Say) -> Settings:
    """Bring database, schema, deployments and work pool to the state that this code needs."""
    from prefect_instances.deployments.apply import apply

    if request.database_url:
        _keep_database(home, request.database_url)
    settings = load_settings(home=home.path, prefect_api_url=found.api_url)
    say("preparing the database")
    with connect(settings) as services:
        database.bring_up_to_date(services.database, say)
        with Inspector.connect(found.api_url) as inspector:
            name = worker.worker_name(home)
            serving.claim_server(inspector, services.identity(), settings.pool, name)
        database.register_definitions(services, say)
        say("registering flows, blocks and automations")
        apply(services.prefect, settings.pool, settings.pool_type, settings.chosen_sweep_seconds)
    return settings


def _keep_database(home: Home, text: str) -> None:
    """Save the address as a block; the home stores only the block's name."""
    url = database.read_url(text)
    with PrefectGateway.connect() as gateway:
        database.save_block(gateway, url)
    home.remember(database_block=database.BLOCK)


def _ensure_worker(
    home: Home, settings: Settings, found: Server, say: Say, started: list[str]
) -> None:
    if processes.alive(home, worker.ROLE) is not None:
        return
    say("starting the worker")
    started.append(worker.ROLE)
    worker.start(home, settings, found)


@contextmanager
def _end_on_failure(home: Home, started: list[str]) -> Iterator[None]:
    """End the started roles if the block fails for any reason, including Ctrl-C."""
    try:
        yield
    except BaseException:
        for role in reversed(started):
            _stop(home, role)
        raise
