"""Reads of the server that one submission of a run shares."""

from contextvars import ContextVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Flow, FlowRun
from prefect.client.schemas.responses import DeploymentResponse

SUBMISSION: ContextVar[dict[UUID, DeploymentResponse] | None] = ContextVar("SUBMISSION")
"""Deployments that the current submission has read."""


def begin_submission() -> None:
    """Forget the deployments that earlier submissions of this task have read."""
    SUBMISSION.set({})


def find_known_queue(flow_run: FlowRun) -> str | None:
    """Return the name of the run's work queue if it is that of its deployment, as usual."""
    known = SUBMISSION.get(None) or {}
    deployment = known.get(flow_run.deployment_id) if flow_run.deployment_id else None
    if deployment is None or deployment.work_queue_id != flow_run.work_queue_id:
        return None
    return deployment.work_queue_name


def read_once_per_submission(client: PrefectClient) -> None:
    """Have the client read a deployment once for a submission, and a flow once.

    Prefect's worker reads the deployment twice: to see whether it exists, and for its variables.
    Outside of a submission deployments are read each time. The name of a flow never changes.
    """
    read_deployment, read_flow = client.read_deployment, client.read_flow
    flows: dict[UUID, Flow] = {}

    async def read_known_deployment(deployment_id: UUID | str) -> DeploymentResponse:
        known, key = SUBMISSION.get(None), UUID(str(deployment_id))
        if known is None:
            return await read_deployment(key)
        if key not in known:
            known[key] = await read_deployment(key)
        return known[key]

    async def read_known_flow(flow_id: UUID) -> Flow:
        if flow_id not in flows:
            flows[flow_id] = await read_flow(flow_id)
        return flows[flow_id]

    setattr(client, "read_deployment", read_known_deployment)  # noqa: B010 - a method
    setattr(client, "read_flow", read_known_flow)  # noqa: B010 - a method
