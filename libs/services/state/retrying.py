"""How often a run that ended badly is repeated."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from prefect_instances.libs.core.commands import RetryPolicy
from prefect_instances.libs.db.repositories.flows import select_flow
from prefect_instances.libs.db.repositories.resources import select_newest_version
from prefect_instances.libs.db.repositories.runs import select_run_and_owner
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import ScheduleSpec, parse_spec, retry_delay


def choose_retry_policy(
    services: Services, schedule: ScheduleSpec, run_id: UUID, retries: int
) -> RetryPolicy:
    """Choose the retry policy of a run: failures by the schedule, crashes by the settings.

    ``retries`` counts the repetitions before this run.
    """
    base = services.ledger.retry
    delay = retry_delay(schedule, retries + 1, str(run_id))
    if delay is None:
        return base
    return replace(base, failed=schedule.max_retries, failed_delay=delay)


def read_retry_policy(services: Services, run_id: UUID) -> RetryPolicy:
    """Return the retry policy of a run, by the present schedule of its flow.

    If the run or its instance is gone, it is that of the settings.
    """
    with services.database.read() as session:
        found = select_run_and_owner(session, run_id)
        if found is None:
            return services.ledger.retry
        run, kind, instance = found
        flow = select_flow(session, instance.id, kind)
        version = select_newest_version(session, instance.id)
        if flow is None or version is None:
            return services.ledger.retry
        schedule = parse_spec(version.spec_json).schedule_of(kind, flow.schedule_json)
        return choose_retry_policy(services, schedule, run.id, run.retries)
