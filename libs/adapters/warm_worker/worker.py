"""The worker class: Prefect's `BaseWorker`, with forked children instead of new interpreters.

Prefect's own loop, states and limits are used as they are. Added are: a poll at once when an event
says that a run may be due, the cancellation of running children, Crashed for those that died, the
hooks for both, in children too, and a signal to a child whose run was suspended. Cancellation is
told to the flow engine over the channel that Prefect's process worker uses for it, so that a flow
sees the same under either worker.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import anyio
import anyio.abc
import httpx
from prefect._flow_run_suspension import is_suspended_flow_run_state
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import Abort, InfrastructureNotFound, ObjectNotFound, Pause
from prefect.runner._control_channel import ControlChannel, ControlSignalStatus
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker, BaseWorkerResult

from prefect_instances.libs.adapters.prefect import suspension
from prefect_instances.libs.adapters.warm_worker.configuration import (
    WarmJobConfiguration,
    WarmVariables,
    prepare_directory,
)
from prefect_instances.libs.adapters.warm_worker.forkserver import ForkJob
from prefect_instances.libs.adapters.warm_worker.reads import (
    begin_submission,
    find_known_queue,
    read_once_per_submission,
)
from prefect_instances.libs.adapters.warm_worker.servers import Child, ServerLost, Servers

POLL_SECONDS = 1.0
"""Seconds without an event after which the worker polls for due runs."""

POLL_PAUSE_SECONDS = 0.25
"""Longest pause after a poll; it is as long as the poll took."""

STOP_POLL_SECONDS = 5.0
"""Seconds between polls for cancelled and suspended runs, in case an event was missed."""

PREFETCH_SECONDS = 2.0
"""How early a run may start to wait in its process; it counts towards the limit meanwhile."""

DEFAULT_LIMIT = 4 * (os.cpu_count() or 1)
"""Maximum concurrent runs of a worker that is started without a limit."""

HOOK_SECONDS = 120.0
API_OUTAGE_SECONDS = 300.0

T = TypeVar("T")


class WarmWorkerResult(BaseWorkerResult):
    """Process id of a run and its exit code, or 0 if its state was accounted for."""


@dataclass(slots=True)
class WorkerRun:
    """A flow run whose process is alive or not yet accounted for, with its job."""

    flow_run_id: UUID
    configuration: WarmJobConfiguration
    job: ForkJob
    child: Child
    cancelled: bool = False


class WarmWorker(BaseWorker[WarmJobConfiguration, WarmVariables, WarmWorkerResult]):
    """Worker that runs flow runs in children forked from preloaded processes."""

    type = "instances-warm"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _display_name = "Instances (warm)"
    _description = "Execute flow runs at once, in processes forked from a pre-imported one."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = self._limit or DEFAULT_LIMIT
        settings = get_current_settings().worker
        is_default = self._prefetch_seconds == settings.prefetch_seconds
        if is_default and "prefetch_seconds" not in settings.model_fields_set:
            # With Prefect's 10 s, runs that are due later would occupy the places of those due now.
            self._prefetch_seconds = PREFETCH_SECONDS
        self._servers = Servers()
        self._control = ControlChannel()
        self._runs: dict[UUID, WorkerRun] = {}
        self._taken: dict[UUID, str] = {}  # documents of runs that are being submitted
        self._polling = asyncio.Lock()
        self._due = asyncio.Event()
        self._watchers: list[asyncio.Task[None]] = []

    async def setup(self) -> None:
        """Prepare the worker, and start to watch for runs that are due or were stopped."""
        await self._exit_stack.enter_async_context(self._control)
        await super().setup()
        read_once_per_submission(self.client)
        steps = (self._submit_due, self._look_for_stopped, self._follow_events)
        watch = [self._warm_up(), *(self._forever(step) for step in steps)]
        self._watchers = [asyncio.create_task(one) for one in watch]

    async def teardown(self, *exc_info: Any) -> None:
        """Stop watching, have Prefect end the runs, then end the forkservers."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        try:
            await super().teardown(*exc_info)
        finally:
            await self._servers.stop()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run a flow run in a forked child, and report its end to Prefect."""
        with prepare_directory(configuration) as directory:
            job = _job(flow_run.id, configuration, str(directory), *self._register(flow_run.id))
            job = replace(job, flow_run=self._taken.pop(flow_run.id, ""))
            try:
                more = configuration.additional_modules(flow_run.tags)
                child = await self._servers.fork(job, configuration.preload, more)
                run = self._runs[flow_run.id] = WorkerRun(flow_run.id, configuration, job, child)
                if task_status is not None:
                    task_status.started(child.pid)
                await self._until_end(run)
                with anyio.CancelScope(shield=True):
                    status = await self._account(run)
            finally:
                self._control.unregister(flow_run.id)
                self._runs.pop(flow_run.id, None)
                if not self._has_room():
                    # Prefect frees this run's place next; another run may wait for it.
                    asyncio.get_running_loop().call_soon(self._due.set)
        return WarmWorkerResult(status_code=status, identifier=str(child.pid))

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: WarmJobConfiguration,  # noqa: ARG002 - Prefect passes it
        grace_seconds: int = 30,
    ) -> None:
        """End a run's process; raise `InfrastructureNotFound` if this worker has none."""
        for run in self._runs.values():
            if str(run.child.pid) == infrastructure_pid:
                return await run.child.end(grace_seconds)
        raise InfrastructureNotFound(f"No process {infrastructure_pid} runs in this worker.")

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Submit the due runs; one poll at a time, because of two answers one would be outdated."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        """Exclude runs that still have a process here: retried ones, or an outdated answer."""
        due = await super()._get_scheduled_flow_runs()
        return [one for one in due if one.flow_run.id not in self._runs]

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Submit a run; if the server cannot be reached, leave it due."""
        begin_submission()
        try:
            await super()._submit_run(flow_run)
        except httpx.HTTPError:
            self._logger.exception("Flow run '%s' could not be submitted", flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)
            self._release_limit_slot(flow_run.id)
        finally:
            self._taken.pop(flow_run.id, None)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        """Take the run; return False if another worker has it, or ran it since the poll.

        The server lets a run that ended become Pending again. It copies the scheduled time only
        from Scheduled to Pending, so a Pending state without that time followed an end.
        """
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=flow_run.id)
            if state.is_pending() and state.state_details.scheduled_time is None:
                await self._insist(lambda: self._return_to_end(flow_run.id))
                return False
        except (Abort, Pause, ObjectNotFound) as refusal:
            self._logger.info("Flow run '%s' is not submitted: %s", flow_run.id, refusal)
            return False
        if state.is_pending():
            self._taken[flow_run.id] = self._describe(flow_run, state)
        return state.is_pending()

    def _describe(self, flow_run: FlowRun, state: State) -> str:
        """Return the run's document as the server answers it, which a poll does not do whole."""
        known: dict[str, Any] = {
            "state": state,
            "work_pool_name": self._work_pool_name,
            "work_queue_name": find_known_queue(flow_run),
        }
        if self._work_pool is not None:
            known["work_pool_id"] = self._work_pool.id
        return flow_run.model_copy(update=known).model_dump_json()

    async def _return_to_end(self, flow_run_id: UUID) -> None:
        """Set the run's last final state again."""
        states = await self.client.read_flow_run_states(flow_run_id)
        ended = [state for state in states if state.is_final()]
        if ended:
            last = max(ended, key=lambda state: state.timestamp)
            await self.client.set_flow_run_state(flow_run_id, last, force=True)

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Leave the run Pending: a fork is too short for a state of its own."""

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Set no labels: the log and the events of a run name its worker."""

    async def _until_end(self, run: WorkerRun) -> None:
        """Wait for the child; end it if the worker is stopped."""
        try:
            await run.child.wait()
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await run.child.end(run.configuration.grace_seconds)

    async def _account(self, run: WorkerRun) -> int:
        """Ensure that the run's state shows how it ended; return the exit code to report."""
        reported = getattr(self._control.get_conclusion(run.flow_run_id), "state_type", None)
        if reported and not run.cancelled:
            return 0
        try:
            current = await self._insist(lambda: self.client.read_flow_run(run.flow_run_id))
        except ObjectNotFound:
            return 0
        state = current.state
        if state is None or state.is_final():
            return 0
        if run.cancelled or state.is_cancelling():
            await self._run_hooks("on_cancellation_hooks", run)
            final: State[Any] = Cancelled(
                message="The run was cancelled and its process has ended."
            )
            await self._insist(
                lambda: self.client.set_flow_run_state(run.flow_run_id, final, force=True)
            )
            return 0
        if not _is_left_behind(current, run.child):
            return 0
        crash: State[Any] = Crashed(message=f"The process of the run {_end_of(run.child.status)}.")
        accepted = await self._insist(lambda: self._propose(run.flow_run_id, crash))
        if accepted is not None and accepted.is_crashed():
            await self._run_hooks("on_crashed_hooks", run)
        return run.child.status or 1

    async def _propose(self, flow_run_id: UUID, state: State) -> State | None:
        """Propose a state; return the one that the server set, None if it refused."""
        try:
            return await propose_state(self.client, state, flow_run_id=flow_run_id)
        except Abort:
            return None

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat the call while the server cannot be reached, as during a restart."""
        deadline = time.monotonic() + API_OUTAGE_SECONDS
        while True:
            try:
                return await call()
            except httpx.TransportError:
                if time.monotonic() > deadline or not self.is_setup:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def _run_hooks(
        self, kind: Literal["on_crashed_hooks", "on_cancellation_hooks"], run: WorkerRun
    ) -> None:
        """Run the flow's hooks in a child; their outcome is ignored."""
        job = replace(run.job, id=str(uuid4()), kind=kind)
        try:
            child = await self._servers.fork(job, run.configuration.preload)
            with anyio.move_on_after(HOOK_SECONDS):
                await child.wait()
            await child.end(run.configuration.grace_seconds)
        except ServerLost:
            self._logger.exception("Hooks of flow run '%s' were not run", run.flow_run_id)

    async def _cancel(self, flow_run_id: UUID) -> None:
        """If the run is in this worker, tell its engine of the cancellation and end its process."""
        run = self._runs.get(flow_run_id)
        if run is None or run.cancelled:
            return
        try:
            current = await self._insist(lambda: self.client.read_flow_run(flow_run_id))
            if run.cancelled or current.state is None or not current.state.is_cancelling():
                return  # the event belongs to an earlier attempt
            run.cancelled = True
            told = await self._control.signal(flow_run_id, "cancel")
            if told is not ControlSignalStatus.ALREADY_CONCLUDED:
                await run.child.end(run.configuration.grace_seconds)
        except (httpx.HTTPError, ObjectNotFound):
            self._logger.exception("Flow run '%s' could not be cancelled", flow_run_id)

    async def _suspend(self, flow_run_id: UUID) -> None:
        """If the run is in this worker and is suspended, tell its process."""
        run = self._runs.get(flow_run_id)
        if run is None:
            return
        try:
            current = await self._insist(lambda: self.client.read_flow_run(flow_run_id))
        except (httpx.HTTPError, ObjectNotFound):
            self._logger.exception("Flow run '%s' could not be suspended", flow_run_id)
            return
        if is_suspended_flow_run_state(current.state):
            run.child.send(suspension.SIGNAL)

    def _start(self, step: Callable[[UUID], Coroutine[Any, Any, None]], flow_run_id: UUID) -> None:
        if self._runs_task_group is not None:
            self._runs_task_group.start_soon(step, flow_run_id)

    async def _warm_up(self) -> None:
        """Start the forkserver of the pool's own environment before its first run."""
        try:
            template = self.work_pool.base_job_template
            values: WarmJobConfiguration = await WarmJobConfiguration.from_template_and_values(
                template, {}, client=self.client
            )
            environment = {name: value or "" for name, value in values.environment().items()}
            await self._servers.warm(environment, values.preload)
        except Exception:
            self._logger.warning(
                "Preloading failed; the first run has to wait for imports", exc_info=True
            )

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step; a failure is handled by a later repetition."""
        while True:
            try:
                await step()
            except Exception:
                self._logger.debug("The worker could not watch its runs", exc_info=True)
                await asyncio.sleep(POLL_SECONDS)

    async def _submit_due(self) -> None:
        """Submit due runs after an event, or after a while without one."""
        with anyio.move_on_after(POLL_SECONDS):
            await self._due.wait()
        self._due.clear()
        if self._has_room():
            began = time.monotonic()
            await self.get_and_submit_flow_runs()
            # Runs that become due together are taken together: the server works longer for a poll
            # than for the state of a run.
            await asyncio.sleep(min(time.monotonic() - began, POLL_PAUSE_SECONDS))

    async def _look_for_stopped(self) -> None:
        """Cancel or suspend the runs whose event was missed, once in a while."""
        await asyncio.sleep(STOP_POLL_SECONDS)
        if not self._runs:
            return
        ours = FlowRunFilterId(any_=list(self._runs))
        stopped = FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.PAUSED])
        wanted = FlowRunFilter(id=ours, state=FlowRunFilterState(type=stopped))
        for flow_run in await self.client.read_flow_runs(flow_run_filter=wanted):
            if flow_run.state is not None:
                self._take_event(flow_run.id, flow_run.state.type)

    async def _follow_events(self) -> None:
        """Act on the events of the pool's runs until their stream ends."""
        wanted = EventFilter(
            event=EventNameFilter(prefix=["prefect.flow-run."]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self.work_pool.id}"]),
        )
        async with get_events_subscriber(filter=wanted) as events:
            async for event in events:
                state = event.resource.get("prefect.state-type")
                if state is not None:
                    flow_run_id = UUID(event.resource.id.rpartition(".")[2])
                    self._take_event(flow_run_id, StateType(state))

    def _take_event(self, flow_run_id: UUID, state: StateType) -> None:
        """Handle the new state of a run of the pool."""
        if state == StateType.SCHEDULED:
            self._due.set()
        elif state == StateType.CANCELLING:
            self._start(self._cancel, flow_run_id)
        elif state == StateType.PAUSED:
            self._start(self._suspend, flow_run_id)
        elif state in TERMINAL_STATES and flow_run_id in self._runs:
            # Its process needs another second to join Prefect's threads.
            was_full = not self._has_room()
            self._release_limit_slot(flow_run_id)
            if was_full:
                self._due.set()

    def _has_room(self) -> bool:
        """Return True if the limit allows another run."""
        return self._limiter is None or self._limiter.available_tokens > 0

    def _register(self, flow_run_id: UUID) -> tuple[str, str]:
        """Return port and token for the control channel of the run's engine."""
        port, token = self._control.register(flow_run_id)
        return str(port), token


def _job(
    flow_run_id: UUID, configuration: WarmJobConfiguration, directory: str, port: str, token: str
) -> ForkJob:
    """Return the job of running the flow run."""
    env = {
        **{name: value or "" for name, value in configuration.env.items()},
        # The engine leaves the follow-up of a cancellation to the worker.
        "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        "PREFECT__CONTROL_PORT": port,
        "PREFECT__CONTROL_TOKEN": token,
    }
    quiet = not configuration.stream_output
    return ForkJob(str(uuid4()), "run", str(flow_run_id), env, directory, quiet)


def _is_left_behind(flow_run: FlowRun, child: Child) -> bool:
    """Return True if the run still counts as running although its process has ended.

    After a clean exit it may really be running: as its next attempt, in another worker.
    """
    state = flow_run.state
    if state is None:
        return False
    if child.status == 0:
        return state.is_running() and flow_run.infrastructure_pid == str(child.pid)
    return state.is_running() or state.is_pending()


def _end_of(status: int | None) -> str:
    if status is None:
        return "has ended, its exit code is unknown"
    if status < 0:
        return f"was ended by signal {-status}"
    return f"exited with code {status} before the run was over"
