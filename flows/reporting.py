"""End flows: Prefect states for outcomes and errors, each with one clear line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from prefect_instances.libs.core.commands import Blocked, Skipped
from prefect_instances.libs.core.errors import InstancesError, InvalidSpec

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
    """Call ``work``; end the flow Failed with one line if it raises an InstancesError.

    Each problem of an invalid spec is logged on its own line. Other exceptions pass with their
    traceback, because they are defects.
    """
    try:
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


_RUN_LOGGER = logging.getLogger("prefect.flow_runs")


def _said_already(record: logging.LogRecord) -> bool:
    """Drop the engine's log record with a traceback for a Failed state that we returned."""
    return not str(record.msg).startswith("Engine execution exited")


def skipped(outcome: Skipped) -> State[Any]:
    """Return the state of a run that had nothing to do."""
    return Completed(name="Skipped", message=outcome.why)


def upstream_not_ready(outcome: Blocked) -> State[Any]:
    """Return the state of a run that was too early; its request is remembered."""
    waits = "; ".join(str(blocker) for blocker in outcome.blockers)
    message = f"waits for {waits}; runs automatically once the upstreams are READY"
    return Completed(name="UpstreamNotReady", message=message)


def not_a_session(calendar: str) -> State[Any]:
    """Return the state of a scheduled run on a day without a session of the exchange."""
    return Completed(
        name="NotASession", message=f"not a slot: {calendar} has no session at this time"
    )
