"""The automations: two in all, however many instances there are.

Prefect evaluates every automation against every event, so one for each instance would not scale.
"""

from __future__ import annotations

from uuid import UUID

from libs.adapters.prefect import AutomationPlan
from libs.core.ids import EXECUTION_TAG, GATE_OPENED

START_NAME = "instances: start the flow whose gate opened"
BAD_END_NAME = "instances: account for runs that ended badly"

BAD_ENDS = ("FAILED", "CRASHED", "CANCELLED")
"""Prefect's state types of a run that ended without telling us, or may have."""

START_FLOW = AutomationPlan(
    name=START_NAME,
    description=(
        "Each time the upstreams of an instance are ready and newer than what it last read, "
        "the event instance.gate.opened names the deployment to start."
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
            "A run that failed, crashed or was cancelled, perhaps without a word, is brought "
            "to the status of its instance."
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
