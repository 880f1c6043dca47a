"""The checks of ``instances doctor``: what is reachable, what is broken, what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from prefect_instances.cli.obstacles import name_some
from prefect_instances.cli.runtime import pages, processes, stack
from prefect_instances.cli.runtime.home import Home
from prefect_instances.cli.runtime.server import Server
from prefect_instances.cli.runtime.stack import find_server
from prefect_instances.libs.adapters.prefect import PrefectGateway, RunState, UnusableSettings
from prefect_instances.libs.adapters.prefect.api import API_ADVICE, NotPrefect
from prefect_instances.libs.adapters.prefect.inspection import Inspector
from prefect_instances.libs.core.errors import InstancesError, PermanentError
from prefect_instances.libs.core.ids import EXECUTION_TAG
from prefect_instances.libs.db import (
    Database,
    UnknownRevision,
    current_revision,
    head_revision,
    require_known,
)
from prefect_instances.libs.db.repositories.outbox import count_unpublished
from prefect_instances.libs.db.repositories.subscribers import count_pending_messages, read_relay
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.services.composition.changed_code import list_changed
from prefect_instances.libs.services.composition.model_stores import open_monitoring, open_tracking
from prefect_instances.libs.services.lifecycle.automations import BAD_END_NAME, START_NAME
from prefect_instances.libs.services.lifecycle.lifecycle_flows import SWEEP, lifecycle_plans
from prefect_instances.libs.services.lifecycle.observing import recorded_deployments
from prefect_instances.libs.services.rendering.links import evidently_pages, mlflow_pages
from prefect_instances.libs.services.state.event_relay import find_late_events
from prefect_instances.libs.settings import Settings
from prefect_instances.libs.wiring import open_database

UP = "run `instances up`"
MODEL_SERVERS = {
    "MLflow": "start it, or correct or unset INSTANCES_MLFLOW_TRACKING_URI",
    "Evidently": "start it, or correct or unset INSTANCES_EVIDENTLY_URL",
}
"""What to do about a server that does not answer."""

LOOKED_AT = 50
"""Number of recent sweeps that are searched for the last completed one."""


class Level(StrEnum):
    """Severity of a finding; only ``fail`` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; ``advice`` says what to do, empty if there is nothing to do."""

    name: str
    level: Level
    detail: str
    advice: str = ""


def examine(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Run all checks, ordered so that the first one that fails explains later ones.

    A check is left out if something that it needs is not available.
    """
    yield check_home(settings)
    yield check_definitions()
    yield from check_processes(settings)
    yield from check_models(settings)
    finding, inspector = _connect(settings)
    yield finding
    if inspector is None:
        yield from _check_database(settings, now, None)
        return
    with inspector:
        yield from _check_database(settings, now, inspector)
        yield from _run_check("work pool", lambda: check_pool(inspector, settings))
        yield from _run_check("worker", lambda: check_worker(inspector, settings))
        yield from _run_check("deployments", lambda: check_deployments(inspector, settings))
        yield from _run_check("automations", lambda: check_automations(inspector))
        yield from _run_check("sweep", lambda: check_sweeps(inspector, settings, now))


def check_home(settings: Settings) -> Finding:
    """Check that the home exists and is writable."""
    home = settings.home
    if not home.is_dir():
        return Finding("home", Level.FAIL, f"{home} does not exist", UP)
    if not os.access(home, os.W_OK | os.X_OK):
        return Finding(
            "home", Level.FAIL, f"{home} is not writable", "choose another INSTANCES_HOME"
        )
    return Finding("home", Level.OK, str(home))


def check_processes(settings: Settings) -> Iterator[Finding]:
    """Check that what ``up`` started still runs; Prefect notices a dead worker only later."""
    home = Home(settings.home)
    titles = {kind.role: f"{kind.title}'s pages" for kind in pages.KINDS.values()}
    for role in reversed(stack.ROLES):
        recorded = processes.record_path(home, role).exists()
        if recorded and processes.alive(home, role) is None:
            detail = f"{titles.get(role, f'the {role}')} died; {processes.last_words(home, role)}"
            yield Finding("processes", Level.FAIL, detail, UP)


def check_models(settings: Settings) -> Iterator[Finding]:
    """Check that MLflow and Evidently are available and, on a server, accept our credentials."""
    for name, store, shown in (
        ("MLflow", open_tracking(settings), mlflow_pages(settings)),
        ("Evidently", open_monitoring(settings), evidently_pages(settings)),
    ):
        pages = f"; pages at {shown.url}" if shown.url else ""
        try:
            yield Finding(name, Level.OK, f"{store.check()}{pages}")
        except InstancesError as error:
            yield Finding(name, Level.FAIL, str(error), MODEL_SERVERS[name])


def check_definitions() -> Finding:
    """Check that every installed definition can be imported."""

    registry = discover()
    count = len(registry.list())
    if registry.broken:
        broken = "; ".join(str(each) for each in registry.broken)
        return Finding("definitions", Level.WARN, broken, "repair or uninstall the package")
    if not count:
        advice = "install the package again: its entry points are missing"
        return Finding("definitions", Level.FAIL, "none is installed", advice)
    return Finding("definitions", Level.OK, f"{count} installed")


def check_changed_code(database: Database) -> Finding:
    """Check that no definition has other code than was registered as its version."""
    with database.read() as session:
        changed = list_changed(session, discover())
    if changed:
        advice = "give the changed code a new version: runs use the new code, unseen by statuses"
        return Finding("code", Level.WARN, "; ".join(changed), advice)
    return Finding("code", Level.OK, "every definition is as it was registered")


def check_schema(database: Database) -> Finding:
    """Check that the database has the tables of this version."""
    current, head = current_revision(database), head_revision()
    where = database.url.render_as_string(hide_password=True)
    try:
        require_known(database, current)
    except UnknownRevision as error:
        return Finding("database", Level.FAIL, error.finding, error.advice)
    if current != head:
        detail = f"{where} is at {current or 'no revision'}, this version needs {head}"
        return Finding("database", Level.FAIL, detail, UP)
    return Finding("database", Level.OK, where)


def check_outbox(database: Database, settings: Settings, now: datetime) -> Finding:
    """Check that no event waits for longer than two sweeps take."""
    late = find_late_events(database, settings, now)
    if late is not None:
        count, since = late
        detail = f"{count} events unpublished since {since.isoformat(timespec='seconds')}"
        advice = "check that the worker runs and sweep-freshness/default succeeds"
        return Finding("outbox", Level.WARN, detail, advice)
    with database.read() as session:
        count = count_unpublished(session)
    return Finding("outbox", Level.OK, f"{count} events wait" if count else "empty")


def check_live(database: Database, now: datetime) -> Finding:
    """Check that subscribers get messages, if a broker is configured."""
    with database.read() as session:
        state, (count, since) = read_relay(session), count_pending_messages(session)
    if not state.configured:
        return Finding("Centrifugo", Level.OK, "not configured; status changes are not published")
    if state.failures and state.failing_since and state.retry_at:
        detail = (
            f"{state.reason} ({count} messages wait; failing since "
            f"{state.failing_since.isoformat(timespec='seconds')}, next try "
            f"{state.retry_at.isoformat(timespec='seconds')})"
        )
        advice = (
            "check that it runs and the block is correct; waiting messages are then sent in order"
        )
        return Finding("Centrifugo", Level.WARN, detail, advice)
    if since and now - since > timedelta(minutes=5):
        advice = "check that the worker runs and sweep-freshness/default succeeds"
        return Finding("Centrifugo", Level.WARN, f"{count} messages wait", advice)
    return Finding("Centrifugo", Level.OK, f"{count} messages wait" if count else "up to date")


def check_instances(database: Database, inspector: PrefectGateway) -> Finding:
    """Check that every flow of an instance has its deployment, without which it cannot run."""
    recorded = recorded_deployments(database)
    present = {view.id for view in inspector.list_deployments_tagged(EXECUTION_TAG)}
    lost = sorted(label for label, id_ in recorded.items() if id_ not in present)
    if lost:
        detail = f"{len(lost)} of {len(recorded)} flows have no deployment: {name_some(lost)}"
        return Finding("instances", Level.FAIL, detail, "run `instances reconcile`")
    return Finding("instances", Level.OK, f"{len(recorded)} flows have their deployments")


def check_sweeps(inspector: PrefectGateway, settings: Settings, now: datetime) -> Finding:
    """Check when a sweep last completed."""
    deployment = inspector.find_deployment_by_name(SWEEP)
    runs = inspector.list_ended_runs(deployment.id, LOOKED_AT) if deployment else []
    ends = [run.end_time for run in runs if run.state is RunState.COMPLETED and run.end_time]
    good = f"the last good one ended {ends[0].isoformat(timespec='seconds')}" if ends else ""
    if runs and runs[0].state is not RunState.COMPLETED:
        last = good or f"none of the last {len(runs)} was good"
        detail = f"the last ended {runs[0].state_name}: {runs[0].message}; {last}"
        return Finding("sweep", Level.WARN, detail, "mend what it names; its log says more")
    if not ends or now - ends[0] > timedelta(seconds=5 * settings.sweep_seconds):
        detail = good or "none has ended yet"
        return Finding(
            "sweep", Level.WARN, detail, f"check that a worker runs and {SWEEP} is not paused"
        )
    return Finding("sweep", Level.OK, good)


def check_owner(database: Database, inspector: PrefectGateway) -> Finding:
    """Check that the Prefect server serves this database and no other."""
    from prefect_instances.cli.runtime.serving import ADVICE, find_other
    from prefect_instances.libs.db.repositories.marks import read_identity

    with database.read() as session:
        identity = read_identity(session)
    other = find_other(inspector, identity)
    if other is None:
        return Finding("server", Level.OK, "it serves this database")
    theirs, pool = other
    detail = f"it serves the database {theirs} (pool {pool!r}), not this one ({identity})"
    return Finding("server", Level.FAIL, detail, ADVICE)


def check_server(inspector: PrefectGateway, server: Server) -> Finding:
    """Check that a Prefect server answers at the address and accepts our credentials."""
    try:
        version = inspector.health()
    except NotPrefect as error:
        return Finding("Prefect", Level.FAIL, f"{error.where} {error.answer}", API_ADVICE)
    except PermanentError as error:
        return Finding("Prefect", Level.FAIL, str(error), "correct Prefect's settings")
    if version is None:
        advice = UP if server.embedded else "start it, or unset PREFECT_API_URL"
        return Finding("Prefect", Level.FAIL, f"no answer at {server.api_url}", advice)
    return Finding("Prefect", Level.OK, f"{version} at {server.api_url}")


def check_pool(inspector: Inspector, settings: Settings) -> Finding:
    """Check that the work pool exists and is not paused."""
    pool = inspector.work_pool(settings.pool)
    if pool is None:
        return Finding("work pool", Level.FAIL, f"no pool {settings.pool!r}", UP)
    if pool["is_paused"]:
        advice = f"resume it: prefect work-pool resume {settings.pool}"
        return Finding("work pool", Level.FAIL, f"{settings.pool!r} is paused", advice)
    return Finding("work pool", Level.OK, f"{settings.pool} ({pool['type']})")


def check_worker(inspector: Inspector, settings: Settings) -> Finding:
    """Check that a worker polls the pool."""
    if inspector.work_pool(settings.pool) is None:
        return Finding("worker", Level.FAIL, "its work pool does not exist", UP)
    online = [worker.name for worker in inspector.workers(settings.pool) if worker.online]
    if not online:
        return Finding("worker", Level.FAIL, f"no worker is online for pool {settings.pool!r}", UP)
    return Finding("worker", Level.OK, ", ".join(online))


def check_deployments(inspector: Inspector, settings: Settings) -> Finding:
    """Check that every lifecycle flow is deployed and none is paused."""
    names = [plan.full_name for plan in lifecycle_plans(settings.pool)]
    found = {name: inspector.find_deployment_by_name(name) for name in names}
    missing = [name for name, deployment in found.items() if deployment is None]
    if missing:
        return Finding("deployments", Level.FAIL, f"missing: {', '.join(missing)}", UP)
    paused = [name for name, deployment in found.items() if deployment and deployment.paused]
    if paused:
        advice = "resume them in Prefect; paused schedules do not run"
        return Finding("deployments", Level.WARN, f"paused: {', '.join(paused)}", advice)
    return Finding("deployments", Level.OK, f"{len(names)} lifecycle flows")


def check_automations(inspector: Inspector) -> Finding:
    """Check that the automations that start flows exist and are enabled."""
    present = inspector.automations()
    missing = [name for name in (START_NAME, BAD_END_NAME) if name not in present]
    if missing:
        return Finding("automations", Level.FAIL, f"missing: {', '.join(missing)}", UP)
    disabled = [name for name in (START_NAME, BAD_END_NAME) if not present[name]]
    if disabled:
        advice = "enable them in Prefect; until then only the sweep starts runs"
        return Finding("automations", Level.WARN, f"disabled: {', '.join(disabled)}", advice)
    return Finding("automations", Level.OK, "both enabled")


def _connect(settings: Settings) -> tuple[Finding, Inspector | None]:
    """Return the server, and a connection to it if it answers."""
    try:
        server = find_server(settings)
        inspector = Inspector.connect(server.api_url)
    except UnusableSettings as error:
        return Finding("Prefect", Level.FAIL, str(error), "correct Prefect's settings"), None
    except InstancesError as error:
        return Finding("Prefect", Level.FAIL, str(error), UP), None
    finding = check_server(inspector, server)
    if finding.level is not Level.OK:
        inspector.close()
        return finding, None
    return finding, inspector


def _check_database(
    settings: Settings, now: datetime, inspector: Inspector | None
) -> list[Finding]:
    """Check schema and outbox; skip both if the address is in a block and Prefect is down."""
    own = settings.home / "instances.db"
    if settings.database_url.endswith(str(own)) and not own.exists():
        return [Finding("database", Level.FAIL, f"{own} does not exist", UP)]
    if inspector is None and not settings.database_url:
        return []
    database = open_database(settings, inspector) if inspector else Database(settings.database_url)
    try:
        schema = check_schema(database)
        if schema.level is not Level.OK:
            return [schema]
        return [
            schema,
            check_changed_code(database),
            check_outbox(database, settings, now),
            check_live(database, now),
            *([check_owner(database, inspector)] if inspector else []),
            *([check_instances(database, inspector)] if inspector else []),
        ]
    except InstancesError as error:
        return [
            Finding("database", Level.FAIL, str(error), "check that it runs and can be reached")
        ]
    finally:
        database.close()


def _run_check(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """Return the finding of a check, or its error as a finding."""
    try:
        yield check()
    except InstancesError as error:
        yield Finding(name, Level.FAIL, str(error), UP)
