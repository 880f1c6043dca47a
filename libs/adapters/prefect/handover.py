"""What the worker has read about a run, for the run's process: it need not ask the server again.

Prefect's engine reads its flow run when it begins, and again once it is Running. The worker knows
it from the poll, and the server's answer to the proposed state says what has changed since.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

_handed: dict[UUID, FlowRun] = {}
"""The run of this process, until its state becomes Running."""


def build_models() -> None:
    """Build what Prefect builds at first use, 10 ms, for all runs that are forked from here."""
    from prefect.client.schemas.actions import FlowRunUpdate, LogCreate
    from prefect.client.schemas.objects import FlowRun

    for model in (FlowRun, FlowRunUpdate, LogCreate):
        model.model_rebuild()


def hand_over(document: str) -> None:
    """Keep the flow run that the worker knows (JSON) for the engine of this process."""
    from prefect.client.schemas.objects import FlowRun

    flow_run = FlowRun.model_validate_json(document)
    _handed[flow_run.id] = flow_run


def load_handed(load: Callable[[UUID], FlowRun]) -> Callable[[UUID], FlowRun]:
    """Return a loader of flow runs that asks ``load`` for those that were not handed over."""

    def load_flow_run(flow_run_id: UUID) -> FlowRun:
        return _handed.get(flow_run_id) or load(flow_run_id)

    return load_flow_run


def enter_with_handed(enter: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``FlowRunEngine.setup_run_context`` that does not read a run that was handed over.

    Once only: each later attempt in the same process reads the run.
    """

    def setup_run_context(self: Any, client: Any = None) -> Any:
        client, state = client or self.client, self.flow_run.state
        handed = _handed.pop(self.flow_run.id, None)
        if handed is None or state is None or not state.is_running():
            return enter(self, client)
        begun = begin_run(self.flow_run, state, self.flow.version)

        def read_once(_: UUID) -> FlowRun:
            del client.read_flow_run
            return begun

        client.read_flow_run = read_once
        return enter(self, client)

    return setup_run_context


def begin_run(flow_run: FlowRun, running: State[Any], flow_version: str | None) -> FlowRun:
    """Return the flow run as the server has it once it set that state Running."""
    return flow_run.model_copy(
        update={
            "state": running,
            "state_id": running.id,
            "state_type": running.type,
            "state_name": running.name,
            "run_count": flow_run.run_count + 1,
            "start_time": flow_run.start_time or running.timestamp,
            "next_scheduled_start_time": None,
            "flow_version": flow_version,
            "infrastructure_pid": str(os.getpid()),
        }
    )
