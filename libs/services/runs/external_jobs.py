"""Jobs outside whose ids are in the database, so that a repeated run continues with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from uuid import uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.records import Run
from prefect_instances.libs.db.models import ExternalJob
from prefect_instances.libs.db.repositories.external_jobs import (
    delete_external_jobs,
    find_external_job,
)
from prefect_instances.libs.definitions.external_job import (
    ExternalJobs,
    Submission,
)
from prefect_instances.libs.services.state.context import Services


class RecordedJobs(ExternalJobs):
    """Jobs of one run; see ``ExternalJobs``."""

    def __init__(self, services: Services, run: Run) -> None:
        super().__init__()
        self._services, self._current_run = services, run

    def settle(self, session: Session) -> None:
        """Delete the records, in the transaction that publishes what the jobs have computed."""
        if self.used:
            delete_external_jobs(session, self._current_run.flow_id)

    def _begin(self, name: str, work: Mapping[str, object]) -> Submission:
        run, now = self._current_run, self._services.now()
        fingerprint = hash_work(run, work)

        def change(session: Session) -> Submission:
            found = find_external_job(session, run.flow_id, name)
            if found is not None and found.fingerprint == fingerprint:
                return Submission(found.token, found.job_id)
            replaced = found.job_id if found else ""
            if found is None:
                found = ExternalJob(flow_id=run.flow_id, name=name)
                session.add(found)
            found.fingerprint, found.token, found.run_id = fingerprint, uuid4(), run.id
            found.system = found.job_id = ""
            found.created_at = now
            return Submission(found.token, "", replaced)

        return self._services.database.transact(change)

    def _record(self, name: str, submission: Submission, system: str, job_id: str) -> bool:
        def change(session: Session) -> bool:
            found = find_external_job(session, self._current_run.flow_id, name)
            if found is None or found.token != submission.token or found.job_id not in ("", job_id):
                return False
            found.system, found.job_id = system[:200], job_id
            return True

        return self._services.database.transact(change)

    def _is_current(self, name: str, submission: Submission) -> bool:
        with self._services.database.read() as session:
            found = find_external_job(session, self._current_run.flow_id, name)
            return found is not None and found.token == submission.token

    def _forget(self, name: str, submission: Submission) -> None:
        def change(session: Session) -> None:
            found = find_external_job(session, self._current_run.flow_id, name)
            if found is not None and found.token == submission.token:
                session.delete(found)

        self._services.database.transact(change)


def hash_work(run: Run, work: Mapping[str, object]) -> str:
    """Hash all that the result of a job depends on: equal if and only if a retry may use it."""
    inputs = sorted([str(pin.edge_id), str(pin.version_id)] for pin in run.pins)
    whole = [work, run.config_version, inputs, asdict(run.parameters)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
