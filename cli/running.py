"""Running a flow from Python: what ``prefect_instances.run`` does, as ``instances run`` does it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal
from uuid import UUID

from prefect_instances.cli.commands.runs import (
    choose_flow,
    parameters_for,
    wait_downstream,
)
from prefect_instances.cli.session import open_services, utc_now
from prefect_instances.cli.waiting import Patience, run_url
from prefect_instances.libs.core.dates import as_of_fault, parse_day
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import Mode


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A flow run that was started; ``url`` is its page in Prefect.

    ``not_ready`` has a sentence for each instance that did not become READY; it is empty if all
    are, and None if nobody waited.
    """

    instance: str
    flow_run_id: UUID
    url: str
    not_ready: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        if self.not_ready is None:
            return f"{self.instance}: started, {self.url}"
        return "\n".join(self.not_ready) or f"{self.instance}: all that it changes is READY"


def run(  # noqa: PLR0913  # one argument for each option of the command
    name: str,
    *,
    flow: str = "",
    mode: Literal["incremental", "full"] = "incremental",
    as_of: date | str | None = None,
    force: bool = False,
    recursive: bool = False,
    smart: bool = False,
    accept_loss: bool = False,
    wait: bool = True,
    timeout: float = 0.0,
) -> StartedRun:
    """Run a flow of an instance now. This publishes new data, and downstream instances follow.

    ``flow`` is the kind of flow; it may be left out if the instance has one. The options are those
    of ``instances run``. With ``wait`` it prints the progress until everything that it starts has
    ended, at most ``timeout`` seconds (0: no limit). It needs a running Prefect server and worker.

    Raises NotFound for an unknown name, InvalidSpec for wrong arguments, PermanentError if the flow
    does not exist, lacks an option or fails, TemporaryError if the time is over or no server runs.
    """
    day = _check(mode, as_of)
    asked = {
        "mode": mode,
        "as_of": day.isoformat() if day else None,
        "force": force,
        "recursive": recursive,
        "smart": smart,
        "accept_loss": accept_loss,
    }
    with open_services() as services:
        target = choose_flow(services, name, flow)
        parameters = parameters_for(services, target, asked)
        started = services.prefect.start_run(target.deployment_id, parameters, name=target.run_name)
        url = run_url(services, started.id)
        missing = wait_downstream(services, target, started, Patience.of(timeout)) if wait else None
    return StartedRun(target.instance, started.id, url, None if missing is None else tuple(missing))


def _check(mode: str, as_of: date | str | None) -> date | None:
    """Return the day; raise InvalidSpec with every argument that is wrong."""
    problems, day = [], None
    if mode not in {*Mode}:
        problems.append(Problem("mode", f"must be one of {', '.join(Mode)}, not {mode!r}"))
    try:
        day = parse_day(as_of) if isinstance(as_of, str) else as_of
    except ValueError as error:
        problems.append(Problem("as_of", str(error)))
    if day is not None and (fault := as_of_fault(day, utc_now())):
        problems.append(Problem("as_of", fault))
    if problems:
        raise InvalidSpec(problems)
    return day
