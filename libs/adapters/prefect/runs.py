"""Flow runs: starting, reading, and ending them if their process is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from prefect_instances.libs.adapters.prefect.api import (
    Api,
    Calls,
    Refused,
    convert_absent,
    split_chunks,
)
from prefect_instances.libs.core.errors import NotFound, PermanentError


class RunState(StrEnum):
    """State of a flow run: Prefect's nine types, with equivalent ones merged."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"


STATE_OF_TYPE: dict[str, RunState] = {
    "SCHEDULED": RunState.SCHEDULED,
    "PENDING": RunState.PENDING,
    "PAUSED": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "CANCELLING": RunState.RUNNING,
    "COMPLETED": RunState.COMPLETED,
    "FAILED": RunState.FAILED,
    "CRASHED": RunState.CRASHED,
    "CANCELLED": RunState.CANCELLED,
}
"""Our state for each of Prefect's: a paused run waits, a cancelling one still runs."""

LIVE = frozenset({RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING})
"""States of a run that is not over."""

ENDED = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CRASHED, RunState.CANCELLED})
"""States of a run that is over."""

STARTED_TYPES = sorted(
    name for name, state in STATE_OF_TYPE.items() if state in LIVE and name != "SCHEDULED"
)
"""Prefect's state types of a run that a worker picked up and that is not over."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A flow run as it is in Prefect; times are aware UTC, None if they did not happen yet.

    ``state_name`` is Prefect's (``Skipped``, ``Late``, ``AwaitingRetry`` …), ``message`` its text.
    ``scheduled`` distinguishes a run of a schedule from a requested one; ``since`` is when the
    state began.
    """

    id: UUID
    name: str
    state: RunState
    state_name: str
    message: str
    deployment_id: UUID | None
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    scheduled: bool
    expected_start_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    since: datetime | None = None

    @property
    def ended(self) -> bool:
        """Return True if the run is over."""
        return self.state in ENDED


class KeyTaken(PermanentError):
    """The idempotency key belongs to a run of another deployment: use another key."""

    def __init__(self, key: str | None, run: RunView) -> None:
        self.key, self.run_id = key, run.id
        super().__init__(
            f"idempotency key {key!r} already names run {run.id} of another deployment "
            f"({run.deployment_id})"
        )


class RunCalls(Calls):
    """Calls about flow runs."""

    def start_run(
        self,
        deployment_id: UUID,
        parameters: Mapping[str, Any],
        idempotency_key: str | None = None,
        scheduled_time: datetime | None = None,
        tags: Sequence[str] = (),
        name: str = "",
    ) -> RunView:
        """Request a run of a deployment, now or at ``scheduled_time``.

        Prefect has one run for each (flow, ``idempotency_key``): a repeated request returns the
        first run, whatever its state. The key counts across all deployments of a flow, so it must
        identify the work, not only the time. ``tags`` are added to the deployment's. Without a
        ``name`` Prefect invents one.

        Raises NotFound for an unknown deployment, PermanentError for parameters against the flow's
        schema, KeyTaken for a key that another deployment of the flow has used.
        """
        when = scheduled_time or datetime.now(UTC)
        body = {
            "parameters": dict(parameters),
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": when}},
            "tags": list(tags),
            **({"name": name} if name else {}),
            # Prefect's client sends a request again after a time-out; a key makes that harmless.
            "idempotency_key": idempotency_key or str(uuid4()),
        }
        path = f"/deployments/{deployment_id}/create_flow_run"
        try:
            run = view_run(self._api.request("POST", path, body, doing="start a run"))
        except Refused as refusal:
            raise convert_absent(refusal, "deployment", deployment_id) from refusal
        if run.deployment_id != deployment_id:
            raise KeyTaken(idempotency_key, run)
        return run

    def read_run(self, run_id: UUID) -> RunView:
        """Return the run with this id; raise NotFound if there is none."""
        run = _find(self._api, run_id)
        if run is None:
            raise NotFound("run", str(run_id))
        return run

    def read_runs(self, run_ids: Iterable[UUID]) -> dict[UUID, RunView]:
        """Return the runs with these ids; missing ones are left out."""
        runs = (
            view_run(document)
            for some in split_chunks(run_ids)
            for document in _filter(self._api, {"id": {"any_": some}})
        )
        return {run.id: run for run in runs}

    def list_live_runs(
        self, deployment_ids: Iterable[UUID], due_by: datetime | None = None
    ) -> dict[UUID, list[RunView]]:
        """Return each deployment's runs that are under way or due, oldest first; [] if none.

        ``due_by`` (default: now) excludes runs that schedules have planned for later.
        """
        wanted = list(dict.fromkeys(deployment_ids))
        found: dict[UUID, dict[UUID, RunView]] = {deployment_id: {} for deployment_id in wanted}
        for some in split_chunks(wanted):
            for condition in _live_conditions(due_by or datetime.now(UTC)):
                for document in _filter(self._api, {"deployment_id": {"any_": some}, **condition}):
                    run = view_run(document)
                    if run.deployment_id is not None:
                        found[run.deployment_id][run.id] = run
        return {key: sorted(runs.values(), key=_by_age) for key, runs in found.items()}

    def list_started_runs(self, tag: str) -> list[RunView]:
        """Return the runs with a tag that were picked up and are not over."""
        condition = {"tags": {"all_": [tag]}, "state": {"type": {"any_": STARTED_TYPES}}}
        return [view_run(document) for document in _filter(self._api, condition)]

    def list_ended_runs(self, deployment_id: UUID, limit: int) -> list[RunView]:
        """Return up to ``limit`` runs of a deployment that are over, the latest first."""
        ended = {"type": {"any_": sorted(state.value for state in ENDED)}}
        condition = {"deployment_id": {"any_": [deployment_id]}, "state": ended}
        body = {"flow_runs": condition, "sort": "END_TIME_DESC", "limit": limit}
        documents = self._api.request("POST", "/flow_runs/filter", body, doing="list runs")
        return [view_run(document) for document in documents]

    def finish_run(self, run_id: UUID, state: RunState, message: str) -> bool:
        """Set a run to the terminal ``state``; return False if it is over, unknown or goes on.

        A run that was being cancelled becomes Cancelled instead. Use it if the process is gone.
        """
        doing = "end a run"
        wanted = {"type": state.value, "name": state.value.capitalize(), "message": message}
        outcome = _propose(self._api, run_id, wanted, doing)
        if outcome == "CANCELLING":
            cancelled = {"type": "CANCELLED", "name": "Cancelled", "message": message}
            outcome = _propose(self._api, run_id, cancelled, doing)
        return outcome in {state.value, "CANCELLED"}

    def crash_run(self, run_id: UUID, message: str) -> bool:
        """Set a run whose process is gone to Crashed; return False if it is over or unknown.

        A run that was being cancelled becomes Cancelled instead. A run that ends at the same moment
        keeps its own end: the server decides.
        """
        return self.finish_run(run_id, RunState.CRASHED, message)

    def cancel_run(self, run_id: UUID) -> bool:
        """Request cancellation of a run; return False if it is over or unknown.

        A run that was not picked up is Cancelled at once; the process of another one is notified by
        its worker and ends a little later.
        """
        state = {"type": "CANCELLING", "name": "Cancelling", "message": "Cancelled by request."}
        return _propose(self._api, run_id, state, "cancel a run") in {"CANCELLING", "CANCELLED"}


def _find(api: Api, run_id: UUID) -> RunView | None:
    document = api.find(f"/flow_runs/{run_id}", doing="read a run")
    return None if document is None else view_run(document)


def _filter(api: Api, flow_runs: Mapping[str, Any]) -> Iterator[Any]:
    body = {"flow_runs": flow_runs, "sort": "ID_DESC"}
    return api.pages("/flow_runs/filter", body, doing="list runs")


def _propose(api: Api, run_id: UUID, state: Mapping[str, Any], doing: str) -> str:
    """Propose a state; return the type that the run has now, "" if it is over or unknown.

    The server may decide otherwise: it cancels at once a run that was not picked up, and lets
    nothing but Cancelled follow Cancelling.
    """
    try:
        answer = api.request(
            "POST", f"/flow_runs/{run_id}/set_state", {"state": state}, doing=doing
        )
    except Refused as refusal:
        if isinstance(convert_absent(refusal, "run", run_id), NotFound):
            return ""
        raise
    if answer["status"] not in {"ACCEPT", "REJECT"} or not answer["state"]:
        return ""
    return str(answer["state"]["type"])


def _live_conditions(due_by: datetime) -> tuple[dict[str, Any], ...]:
    """Return filters: picked up and not over; due and not picked up; waiting for its own retry."""
    planned = {"type": {"any_": ["SCHEDULED"]}}
    return (
        {"state": {"type": {"any_": STARTED_TYPES}}},
        {"state": planned, "next_scheduled_start_time": {"before_": due_by}},
        {"state": planned, "start_time": {"is_null_": False}},
    )


def view_run(document: Mapping[str, Any]) -> RunView:
    """Convert a run document; raise PermanentError for a state type unknown here."""
    state = document.get("state") or {}
    deployment_id = document["deployment_id"]
    return RunView(
        id=UUID(document["id"]),
        name=document["name"],
        state=_state(document["state_type"]),
        state_name=document["state_name"] or "",
        message=state.get("message") or "",
        deployment_id=UUID(deployment_id) if deployment_id else None,
        parameters=document["parameters"],
        tags=tuple(document["tags"]),
        scheduled=bool(document["auto_scheduled"]),
        expected_start_time=_time(document["expected_start_time"]),
        start_time=_time(document["start_time"]),
        end_time=_time(document["end_time"]),
        since=_time(state.get("timestamp")),
    )


def _state(type_: str) -> RunState:
    try:
        return STATE_OF_TYPE[type_]
    except KeyError as error:
        raise PermanentError(
            f"Prefect reports a run state {type_!r} that this version does not know"
        ) from error


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _by_age(run: RunView) -> tuple[datetime, str]:
    return run.expected_start_time or datetime.max.replace(tzinfo=UTC), str(run.id)
