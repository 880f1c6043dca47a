"""How flows end: Prefect states for outcomes and errors, one clear line each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped
from prefect_instances.libs.core.errors import InstancesError, InvalidSpec
from prefect_instances.libs.core.ids import DATABASE_TAG
from prefect_instances.libs.wiring import connect

Answer = TypeVar("Answer")


def current_run() -> Any:
    """The Prefect flow run that this code executes in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("this is only callable inside a flow run")
    return context.flow_run


def current_run_id() -> UUID:
    """Id of the Prefect flow run that this code executes in."""
    run_id = current_run().id
    assert isinstance(run_id, UUID)
    return run_id


def reported(work: Callable[[], Answer]) -> Answer | State[Any]:
    """Do the work; an error that a person can act on ends the flow Failed with its one line.

    Each problem of a bad spec is logged on its own line. Other exceptions pass: they are defects
    and deserve their traceback.
    """
    try:
        _refuse_foreign()
        return work()
    except InstancesError as error:
        logger = get_run_logger()
        if isinstance(error, InvalidSpec):
            for problem in error.problems:
                logger.error("%s", problem)
        else:
            logger.error("%s", error)
        _RUN_LOGGER.addFilter(_said_already)
        return Failed(message=str(error))


def _refuse_foreign() -> None:
    """Raise WrongDatabase in a run that another home asked for, before anything is done."""
    context = FlowRunContext.get()
    tags = context.flow_run.tags if context is not None and context.flow_run is not None else []
    if any(tag.startswith(f"{DATABASE_TAG}:") for tag in tags):
        with connect() as services:
            services.refuse_foreign(tags)


_RUN_LOGGER = logging.getLogger("prefect.flow_runs")


def _said_already(record: logging.LogRecord) -> bool:
    """Without what Prefect's engine says of a Failed state: a traceback of its own code."""
    return not str(record.msg).startswith("Engine execution exited")


def skipped(outcome: Skipped) -> State[Any]:
    """Nothing to do: another run did it, or nothing is due."""
    return Completed(name="Skipped", message=outcome.why)


def asked_again(outcome: AskedAgain) -> State[Any]:
    """End a retry of a run that is on record as failed: it stays Failed, another one runs."""
    get_run_logger().warning("%s", outcome.why)
    _RUN_LOGGER.addFilter(_said_already)
    return Failed(message=outcome.why)


def upstream_not_ready(outcome: Blocked) -> State[Any]:
    """What was asked is remembered; it runs when the blocking upstreams are READY."""
    waits = "; ".join(str(blocker) for blocker in outcome.blockers)
    message = f"waits for {waits}; runs by itself once the upstreams are READY"
    return Completed(name="UpstreamNotReady", message=message)


def not_a_session(calendar: str) -> State[Any]:
    """A time at which Prefect fires, but which is no slot: no such session of the exchange."""
    return Completed(name="NotASession", message=f"no slot: {calendar} has no such session today")
