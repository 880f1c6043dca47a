"""Prefect as the rest of the project sees it: a synchronous gateway and its read models.

What belongs here: every call to Prefect's API, the mapping of its states to ours, and the
translation of its failures. What must not: flows, blocks and hooks (they are Prefect's own shapes
and live in ``flows/`` and ``blocks/``), and decisions about instances.

Importing this package does not import Prefect; connecting does.
"""

from libs.adapters.prefect.api import Refused
from libs.adapters.prefect.automations import AutomationPlan, AutomationView
from libs.adapters.prefect.deployments import DeploymentPlan, DeploymentView
from libs.adapters.prefect.edits import deployment_edits
from libs.adapters.prefect.ensured import Change, EnsureResult
from libs.adapters.prefect.flows import FlowFacts, describe_flow, schema_of
from libs.adapters.prefect.gateway import PrefectGateway, configured_api_url
from libs.adapters.prefect.pools import container_template, process_template
from libs.adapters.prefect.runs import ENDED, LIVE, RunState, RunView
from libs.adapters.prefect.schedules import Every, ScheduleView

__all__ = [
    "ENDED",
    "LIVE",
    "AutomationPlan",
    "AutomationView",
    "Change",
    "DeploymentPlan",
    "DeploymentView",
    "EnsureResult",
    "Every",
    "FlowFacts",
    "PrefectGateway",
    "Refused",
    "RunState",
    "RunView",
    "ScheduleView",
    "configured_api_url",
    "container_template",
    "deployment_edits",
    "describe_flow",
    "process_template",
    "schema_of",
]
