"""The environment of server and worker: the caller's, without settings of other set-ups."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prefect_instances.cli.runtime.home import Home
from prefect_instances.libs.settings import PREFIX, Settings

DAY = 86_400
"""Seconds of a day."""

KEPT_PREFECT = frozenset(
    {
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_LOGGING_LEVEL",
        "PREFECT_LOGGING_SERVER_LEVEL",
        "PREFECT_SERVER_LOGGING_LEVEL",
        "PREFECT_WORKER_QUERY_SECONDS",
    }
)
"""Prefect settings that do not depend on the server; all others may belong to another server."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect must not silently start a temporary server if the real one cannot be reached.
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLI_WRAP_LINES": "false",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Settings without telemetry, without prompts, and with plain-text logs."""


def base_environment(home: Home) -> dict[str, str]:
    """Return the caller's variables without foreign Prefect settings.

    ``PREFECT__*`` variables, which tell a process that it is a flow run, are removed too:
    ``instances up`` may be called from a flow.
    """
    inherited = {name: value for name, value in os.environ.items() if _belongs(name)}
    own = {f"{PREFIX}HOME": str(home.path), "PREFECT_HOME": str(home.prefect)}
    return {**inherited, **QUIET, **own}


def server_environment(home: Home, api_url: str, settings: Settings) -> dict[str, str]:
    """Return the environment of the embedded server that answers at ``api_url``.

    Its pages call the address in ``PREFECT_SERVER_UI_API_URL``; without it they would use the
    default port of Prefect.
    """
    days, vacuumed = settings.server_run_days, "events"
    retention = {}
    if days:
        vacuumed = "events,flow_runs"
        retention["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] = str(days * DAY)
    database = f"sqlite+aiosqlite:///{home.prefect / 'prefect.db'}"
    return {
        **base_environment(home),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_UI_API_URL": api_url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": vacuumed,
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{settings.server_event_days}D",
        **retention,
    }


def worker_environment(home: Home, api_url: str, access: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the worker and its runs; ``access`` is the server's."""
    return {**base_environment(home), **access, "PREFECT_API_URL": api_url}


def _belongs(name: str) -> bool:
    return not name.startswith("PREFECT_") or name in KEPT_PREFECT
