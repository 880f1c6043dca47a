"""Jobs outside whose ids nobody records: what previews, reruns and tests of a definition use."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.definitions.external_job import (
    NAME_LENGTH,
    ExternalSystem,
    JobState,
    UnrecordedJobs,
)


class Queue(ExternalSystem):
    """Ends every job at once, and remembers what was submitted and cancelled."""

    def __init__(self) -> None:
        self.submitted: list[Mapping[str, object]] = []
        self.cancelled: list[str] = []

    def submit(self, work: Mapping[str, object], token: str) -> str:
        assert token
        self.submitted.append(work)
        return f"job-{len(self.submitted)}"

    def look(self, job_id: str) -> JobState:
        assert job_id
        return JobState.SUCCEEDED

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


def test_the_same_work_is_submitted_once_and_other_work_cancels_it() -> None:
    queue, jobs = Queue(), UnrecordedJobs()
    ids = [jobs.run("fit", queue, {"days": days}) for days in (1, 1, 2)]
    assert ids == ["job-1", "job-1", "job-2"]
    assert queue.cancelled == ["job-1"]
    assert jobs.used == {"fit": "job-2"}


@pytest.mark.parametrize("name", ["", "x" * (NAME_LENGTH + 1)], ids=["empty", "too long"])
def test_a_name_that_no_table_holds_is_refused_before_anything_is_submitted(name: str) -> None:
    queue = Queue()
    with pytest.raises(PermanentError, match="name a job with 1 to 80 characters"):
        UnrecordedJobs().run(name, queue, {})
    assert queue.submitted == []
    assert UnrecordedJobs().run("x" * NAME_LENGTH, queue, {}) == "job-1"
