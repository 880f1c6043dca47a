"""End flows with a Prefect state and one clear line for each outcome or error."""

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
from prefect_instances.libs.core.errors import (
    InstancesError,
    InvalidSpec,
    TemporaryError,
    WrongDatabase,
)
from prefect_instances.libs.core.ids import DATABASE_TAG
from prefect_instances.libs.core.pairing import UNAVAILABLE, WRONG_DATABASE
from prefect_instances.libs.core.status import IdleEnd
from prefect_instances.libs.wiring import connect

Answer = TypeVar("Answer")


def current_run() -> Any:
    """Return the Prefect flow run in which this code executes."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("this is only callable inside a flow run")
    return context.flow_run


def current_run_id() -> UUID:
    """Return the id of the Prefect flow run in which this code executes."""
    run_id = current_run().id
    assert isinstance(run_id, UUID)
    return run_id


def report_errors(work: Callable[[], Answer], *, of_database: bool = True) -> Answer | State[Any]:
    """Call ``work``; if it raises an InstancesError, end the flow Failed with one line.

    ``of_database`` checks first that the run is for this database; an execution does so itself.
    Each problem of an invalid spec is logged on its own line. Other exceptions pass with their
    traceback, because they are defects.
    """
    try:
        if of_database:
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
        return Failed(name=_state_name(error), message=str(error))


def _state_name(error: InstancesError) -> str:
    """Return the name of the Failed state; the recovery of runs decides by it."""
    if isinstance(error, WrongDatabase):
        return WRONG_DATABASE
    return UNAVAILABLE if isinstance(error, TemporaryError) else "Failed"


def _refuse_foreign() -> None:
    """Raise WrongDatabase if the run is for another database."""
    context = FlowRunContext.get()
    tags = context.flow_run.tags if context is not None and context.flow_run is not None else []
    if any(tag.startswith(f"{DATABASE_TAG}:") for tag in tags):
        with connect() as services:
            services.refuse_foreign(tags)


_RUN_LOGGER = logging.getLogger("prefect.flow_runs")


def _said_already(record: logging.LogRecord) -> bool:
    """Drop the engine's log record with a traceback for a Failed state that we returned."""
    return not str(record.msg).startswith("Engine execution exited")


def end_skipped(outcome: Skipped) -> State[Any]:
    """Return the state of a run that had nothing to do."""
    return Completed(name=IdleEnd.SKIPPED, message=outcome.why)


def end_already_failed(outcome: AskedAgain) -> State[Any]:
    """Return the state of a retry whose run is already recorded as failed.

    It stays Failed; a new run does the work.
    """
    get_run_logger().warning("%s", outcome.why)
    _RUN_LOGGER.addFilter(_said_already)
    return Failed(message=outcome.why)


def end_upstream_not_ready(outcome: Blocked) -> State[Any]:
    """Return the state of a run that must wait for its upstreams; its request is remembered."""
    waits = "; ".join(str(blocker) for blocker in outcome.blockers)
    message = f"waits for {waits}; runs automatically once the upstreams are READY"
    return Completed(name=IdleEnd.UPSTREAM_NOT_READY, message=message)


def end_not_a_session(calendar: str) -> State[Any]:
    """Return the state of a scheduled run on a day without a session of the exchange."""
    return Completed(
        name=IdleEnd.NOT_A_SESSION, message=f"not a slot: {calendar} has no session at this time"
    )
