"""Submission of flows, and waiting for a run to end or a cascade to settle."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect_instances.cli.errors import FlowFailed, TookTooLong
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.session import utc_now
from prefect_instances.cli.tables import not_ready
from prefect_instances.libs.adapters.prefect import RunState, RunView
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.ids import database_tag
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports

POLL_SECONDS = 0.5

Statuses = Callable[[], Mapping[str, Any]]
"""A function that reads the statuses to show, in the shape of ``instances status --json``."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait; ``seconds`` 0 means without limit."""

    seconds: float
    until: float

    @classmethod
    def of(cls, seconds: float) -> Patience:
        """Start the time limit now."""
        return cls(seconds, time.monotonic() + seconds if seconds else float("inf"))

    def pause(self, what: str) -> None:
        """Wait a moment; raise TookTooLong if the time limit is over."""
        if time.monotonic() > self.until:
            raise TookTooLong(what, self.seconds)
        time.sleep(POLL_SECONDS)


def submit(services: Services, full_name: str, parameters: Mapping[str, Any]) -> RunView:
    """Start the deployment ``flow-name/deployment-name``; raise Unavailable if it does not exist.

    The run carries the database's identity: a worker of another home refuses it.
    """
    services.prefect.require_answer()
    deployment = services.prefect.find_deployment_by_name(full_name)
    if deployment is None:
        raise Unavailable(
            f"deployment {full_name}",
            "it is not in Prefect, whose database is new or was lost; run `instances up`",
        )
    tags = [database_tag(services.identity())]
    return services.prefect.start_run(deployment.id, parameters, tags=tags)


def run_url(services: Services, run_id: UUID) -> str:
    """Return the address of a flow run's page in Prefect."""
    root = services.prefect.api_url.removesuffix("/").removesuffix("/api")
    return f"{root}/v2/runs/flow-run/{run_id}"


def wait_for_run(
    services: Services,
    run: RunView,
    what: str,
    progress: Progress,
    patience: Patience,
    statuses: Statuses | None = None,
    how_far: Callable[[], str] = lambda: "",
) -> RunView:
    """Wait until ``run`` ends and return it; raise FlowFailed unless it is COMPLETED.

    ``what`` names the run for people. ``statuses`` are shown meanwhile, and ``how_far`` returns its
    progress, empty if unknown.
    """
    while not run.ended:
        progress.say(how_far() or _doing(what, run))
        if statuses is not None:
            progress.show(statuses())
        patience.pause(what)
        run = services.prefect.read_run(run.id)
    if run.state is not RunState.COMPLETED:
        raise FlowFailed(what, run.id, run.state.value.lower(), plain_message(run.message))
    return run


def wait_until_settled(
    statuses: Statuses,
    settled: Callable[[Sequence[str]], bool],
    progress: Progress,
    patience: Patience,
) -> list[str]:
    """Wait until every instance of ``statuses`` is READY, or nothing runs that could help.

    ``settled`` returns True if nothing runs or is about to run for some instances
    (``project/name``). Returns a line for each instance that did not become READY.
    """
    while True:
        document = statuses()
        progress.show(document)
        missing = not_ready(document)
        if not missing:
            return []
        progress.say(f"{len(missing)} of {len(document['instances'])} not READY yet")
        if settled(_unready_names(document)):
            # An instance may have become READY between the two reads.
            return not_ready(statuses())
        patience.pause("the cascade")


def wait_until_served(
    services: Services, name: str, progress: Progress, patience: Patience
) -> bool:
    """Wait until the pending request of an instance has run; return False if it cannot run.

    A run that came too early leaves its request pending until the upstreams are READY. False means
    that the request is still pending and nothing runs that would unblock it.
    """
    settled = build_settled(services)
    while reports.has_request(services.database, name):
        progress.say(f"{name} waits for its upstreams")
        if settled([name]):
            return not reports.has_request(services.database, name)
        patience.pause(f"the run of {name}")
    return True


def build_settled(services: Services) -> Callable[[Sequence[str]], bool]:
    """Build the ``settled`` function of ``wait_until_settled``, which reads the database."""

    def settled(names: Sequence[str]) -> bool:
        # An instance that waits for one outside ``names`` changes when that one does.
        related = {other for name in names for other in _related(services, name)}
        return all(
            reports.cascade(services.database, utc_now(), name)["settled"]
            for name in sorted(related)
        )

    return settled


def _related(services: Services, name: str) -> set[str]:
    """Return the instance, and all instances up- or downstream of it that are not READY."""
    nodes = reports.lineage(services.database, name)["nodes"]
    # One that is READY may still be about to run: a request of it is pending.
    return {name, *(_full_name(node) for node in nodes if node["status"] != "READY")}


def cascade_of(services: Services, name: str) -> tuple[list[str], Callable[[Sequence[str]], bool]]:
    """Return the instances that a run of the instance may start, and a function on their progress.

    The function returns True once none of their flows runs or is about to run; it ignores its
    argument.
    """
    flows = {flow["id"] for flow in reports.cascade(services.database, utc_now(), name)["flows"]}
    nodes = reports.lineage(services.database, name)["nodes"]

    def settled(_: Sequence[str]) -> bool:
        return bool(reports.cascade(services.database, utc_now(), name)["settled"])

    return [_full_name(node) for node in nodes if node["flow_id"] in flows], settled


def statuses_of(services: Services, names: Sequence[str]) -> Statuses:
    """Build a function that reads the statuses of the instances ``project/name`` that exist."""
    projects = {name.partition("/")[0] for name in names}
    project = projects.pop() if len(projects) == 1 else None

    def read() -> Mapping[str, Any]:
        document = reports.status(services.database, utc_now(), project=project)
        kept = [entry for entry in document["instances"] if _full_name(entry) in names]
        return {"instances": kept}

    return read


def plain_message(message: str) -> str:
    """Return a failed flow run's message without Prefect's prefix and the exception's class."""
    text = message.removeprefix("Flow run encountered an exception: ")
    return re.sub(r"^[A-Za-z_][\w.]*: ", "", text.strip(), count=1)


def _doing(what: str, run: RunView) -> str:
    if run.state_name == "Late":
        return f"{what}: no worker has started it yet; `instances doctor` shows why"
    return f"{what}: {run.state_name}"


def _full_name(entry: Mapping[str, Any]) -> str:
    return f"{entry['project']}/{entry['name']}"


def _unready_names(document: Mapping[str, Any]) -> list[str]:
    return [_full_name(entry) for entry in document["instances"] if entry["status"] != "READY"]
