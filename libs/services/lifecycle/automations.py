"""The automations: two in all, however many instances there are, and one for who wants it.

Prefect evaluates every automation against every event, so one for each instance would not scale.
"""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.adapters.prefect import AutomationPlan
from prefect_instances.libs.core.ids import EXECUTION_TAG, GATE_OPENED, SLA_BREACHED

AGGREGATE_STATUS = "aggregate-status/default"
"""The lifecycle deployment that accounts for bad ends."""

START_NAME = "instances: start the flow whose gate opened"
BAD_END_NAME = "instances: account for runs that ended badly"
NOTIFY_NAME = "instances: notify of missed deadlines"

BAD_ENDS = ("FAILED", "CRASHED", "CANCELLED")
"""Prefect's state types of a run that ended without telling us, or may have."""

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
"""Starts whichever deployment the event names first, with the opening that it is to claim."""


def account_for_bad_ends(aggregate_status_id: UUID) -> AutomationPlan:
    """Runs ``aggregate-status`` (the deployment with this id) for an execution that ended badly.

    Only runs that carry the tag of execution deployments count, so no lifecycle flow, and not
    ``aggregate-status`` itself, can set it off.
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


def notify_of_breaches(notification_block_id: UUID) -> AutomationPlan:
    """Sends a message for every deadline that passed; made only where somebody asks for it.

    The block document is any of Prefect's notification blocks (Slack, mail, Teams, a webhook …).
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
