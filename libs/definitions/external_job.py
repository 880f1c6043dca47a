"""Jobs outside: work that a definition hands to another system, and waits for.

The id of a job is recorded before the wait begins. So a run that is repeated after a failure, or
after its process died, continues with the job that is there instead of submitting the work again.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID, uuid4

from prefect_instances.libs.core.errors import Interrupted, PermanentError, TemporaryError

NAME_LENGTH = 80
"""Most characters of the name of a job."""

POLL_SECONDS = 5.0
"""Seconds between two looks at a job."""

_log = logging.getLogger("instances.external_jobs")


class JobState(StrEnum):
    """State of a job in the system outside; UNKNOWN: the system does not know the job."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class ExternalJobFailed(TemporaryError):
    """A job outside failed or is gone: the next run submits the work again."""

    def __init__(self, system: str, job_id: str, state: JobState, detail: str = "") -> None:
        self.system, self.job_id, self.state = system, job_id, state
        ended = "failed" if state is JobState.FAILED else "is not known there any more"
        super().__init__(f"job {job_id} of {system} {ended}{f': {detail}' if detail else ''}")


class ExternalSystem(ABC):
    """A system outside that runs jobs, such as a batch queue or the service of a vendor.

    Errors of the methods fail the run; the job goes on, and the next attempt continues with it.
    """

    @property
    def label(self) -> str:
        """Return the name of the system in messages."""
        return type(self).__name__

    @abstractmethod
    def submit(self, work: Mapping[str, object], token: str) -> str:
        """Start a job and return its id.

        ``token`` identifies this submission. If a process dies before the id is recorded, the next
        attempt submits with the same token: a system that knows the token returns the same job.
        """

    @abstractmethod
    def look(self, job_id: str) -> JobState:
        """Return the state of a job."""

    def cancel(self, job_id: str) -> None:
        """End a job whose result nobody waits for any more; by default it goes on."""
        _log.info("job %s of %s goes on, and nobody waits for it", job_id, self.label)

    def explain(self, job_id: str) -> str:
        """Return why a job failed, in one line."""
        return f"its log there says why ({job_id})"


@dataclass(frozen=True, slots=True)
class Submission:
    """Work that is handed over once.

    ``job_id`` is empty until it is known. ``replaced`` is the id of a job for other work, which
    nobody waits for any more; empty if there is none.
    """

    token: UUID
    job_id: str = ""
    replaced: str = ""


class ExternalJobs(ABC):
    """Hands work to systems outside and waits for it; ``context.jobs`` of a pipeline."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}
        """The id of the last job by the name of its work."""

    def run(
        self,
        name: str,
        system: ExternalSystem,
        work: Mapping[str, object],
        poll_seconds: float = POLL_SECONDS,
    ) -> str:
        """Submit the work, or find the job that an earlier attempt submitted; wait for its success.

        Returns the id of the job. ``name`` distinguishes several jobs of one run, in at most 80
        characters. ``work`` is JSON: what the result depends on beside the inputs, the
        configuration and the parameters of the run. If any of these changed, the old job is
        cancelled and the work is submitted anew.

        Raises ExternalJobFailed if the job failed or a new one is gone, Interrupted if another run
        of the flow has taken over, PermanentError for a name that is empty or too long.
        """
        if not 0 < len(name) <= NAME_LENGTH:
            raise PermanentError(f"name a job with 1 to {NAME_LENGTH} characters, not {len(name)}")
        while True:
            submission = self._begin(name, work)
            if submission.replaced:
                system.cancel(submission.replaced)
            resumed, job_id = bool(submission.job_id), submission.job_id
            if not resumed:
                job_id = system.submit(work, str(submission.token))
                if not self._record(name, submission, system.label, job_id):
                    system.cancel(job_id)
                    raise _taken_over(name)
            doing = "continues with" if resumed else "submitted"
            _log.info("%s: %s job %s of %s", name, doing, job_id, system.label)
            self.used[name] = job_id
            state = self._wait(name, submission, system, job_id, poll_seconds)
            if state is JobState.SUCCEEDED:
                return job_id
            self._forget(name, submission)
            if state is JobState.FAILED or not resumed:
                detail = system.explain(job_id) if state is JobState.FAILED else ""
                raise ExternalJobFailed(system.label, job_id, state, detail)

    def _wait(
        self,
        name: str,
        submission: Submission,
        system: ExternalSystem,
        job_id: str,
        poll_seconds: float,
    ) -> JobState:
        while (state := system.look(job_id)) is JobState.RUNNING:
            time.sleep(poll_seconds)
            if not self._is_current(name, submission):
                raise _taken_over(name)
        return state

    @abstractmethod
    def _begin(self, name: str, work: Mapping[str, object]) -> Submission:
        """Return the submission of an earlier attempt at the same work, or a new one."""

    @abstractmethod
    def _record(self, name: str, submission: Submission, system: str, job_id: str) -> bool:
        """Record the id of the job; return False if another run has taken over."""

    @abstractmethod
    def _is_current(self, name: str, submission: Submission) -> bool:
        """Return False if another run has taken over."""

    @abstractmethod
    def _forget(self, name: str, submission: Submission) -> None:
        """Let the next attempt submit anew."""


class UnrecordedJobs(ExternalJobs):
    """Jobs whose ids are known to this object only: for tests, previews and reruns."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, tuple[Mapping[str, object], Submission]] = {}

    def _begin(self, name: str, work: Mapping[str, object]) -> Submission:
        known = self._known.get(name)
        if known is None or known[0] != work:
            known = (work, Submission(uuid4(), replaced=known[1].job_id if known else ""))
            self._known[name] = known
        return known[1]

    def _record(self, name: str, submission: Submission, system: str, job_id: str) -> bool:
        _log.debug("job %s of %s is not recorded", job_id, system)
        work, _ = self._known[name]
        self._known[name] = (work, replace(submission, job_id=job_id, replaced=""))
        return True

    def _is_current(self, name: str, submission: Submission) -> bool:
        return self._known[name][1].token == submission.token

    def _forget(self, name: str, submission: Submission) -> None:
        if self._is_current(name, submission):
            del self._known[name]


def _taken_over(name: str) -> Interrupted:
    return Interrupted(f"another run of the flow has taken over the job {name!r}")
