"""Prefect automations: two for all instances, and an optional one that notifies of breaches.

Prefect evaluates every automation against every event, so one for each instance would not scale.
"""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.adapters.prefect import AutomationPlan
from prefect_instances.libs.core.ids import EXECUTION_TAG, GATE_OPENED, SLA_BREACHED

AGGREGATE_STATUS = "aggregate-status/default"
"""The lifecycle deployment that recovers runs that ended badly."""

START_NAME = "instances: start the flow whose gate opened"
BAD_END_NAME = "instances: account for runs that ended badly"
NOTIFY_NAME = "instances: notify of missed deadlines"

BAD_ENDS = ("FAILED", "CRASHED", "CANCELLED")
"""Prefect's state types of runs that may have ended without reporting."""

START_FLOW = AutomationPlan(
    name=START_NAME,
    description=(
        "When the upstreams of an instance are ready and newer than what it last read, the event "
        "instance.gate.opened names the deployment to start."
    ),
    trigger={
        "type": "event",
        "posture": "Reactive",
        "expect": [GATE_OPENED],
        # An event that names no deployment would start nothing and fail the action.
        "match_related": {
            "prefect.resource.role": "deployment",
            "prefect.resource.id": "prefect.deployment.*",
        },
        "threshold": 1,
        "within": 0,
    },
    actions=(
        {
            "type": "run-deployment",
            "source": "inferred",
            "parameters": {"opening": "{{ event.payload.opening }}"},
        },
    ),
)
"""Starts the deployment that the event names first, with the opening that it must claim."""


def plan_recovery(aggregate_status_id: UUID) -> AutomationPlan:
    """Build the automation that runs ``aggregate-status`` when an execution ends badly.

    ``aggregate_status_id`` is the id of that deployment. Only runs with the tag of execution
    deployments match, so no lifecycle flow, including ``aggregate-status`` itself, can trigger it.
    """
    return AutomationPlan(
        name=BAD_END_NAME,
        description=(
            "Each time a run fails, crashes or is cancelled, aggregate-status updates the status "
            "of its instance, because the run itself may not have done so."
        ),
        trigger={
            "type": "event",
            "posture": "Reactive",
            "expect": ["prefect.flow-run.*"],
            "match": {
                "prefect.resource.id": "prefect.flow-run.*",
                # Matched by type: a state may have any name.
                "prefect.state-type": list(BAD_ENDS),
            },
            "match_related": {
                "prefect.resource.role": "tag",
                "prefect.resource.id": f"prefect.tag.{EXECUTION_TAG}",
            },
            "threshold": 1,
            "within": 0,
        },
        actions=(
            {
                "type": "run-deployment",
                "source": "selected",
                "deployment_id": str(aggregate_status_id),
                "parameters": {
                    "flow_run_id": "{{ event.resource.id | replace('prefect.flow-run.', '') }}"
                },
            },
        ),
    )


def plan_breach_notice(notification_block_id: UUID) -> AutomationPlan:
    """Build the optional automation that sends a message for each missed deadline.

    ``notification_block_id`` is the id of any of Prefect's notification blocks (Slack, mail, Teams,
    a webhook …).
    """
    return AutomationPlan(
        name=NOTIFY_NAME,
        description="A scheduled refresh is overdue: its slot and its grace period have passed.",
        trigger={
            "type": "event",
            "posture": "Reactive",
            "expect": [SLA_BREACHED],
            "match": {"prefect.resource.id": "instance.flow.*"},
            "threshold": 1,
            "within": 0,
        },
        actions=(
            {
                "type": "send-notification",
                "block_document_id": str(notification_block_id),
                "subject": "{{ event.payload.project }}/{{ event.payload.instance }} is overdue",
                "body": (
                    "{{ event.payload.flow_kind }} of {{ event.payload.instance }} was expected at "
                    "{{ event.payload.expected_refresh_at }} and is "
                    "{{ event.payload.overdue_hours }} h late.\n"
                    "It is {{ event.payload.status }} ({{ event.payload.reason }}): "
                    "{{ event.payload.message }}"
                ),
            },
        ),
    )
