"""Prefect as the rest of the project sees it: a synchronous gateway and its read models.

What belongs here: every call to Prefect's API, the mapping of its states to ours, and the
translation of its failures. What must not: flows, blocks and hooks (they are Prefect's own shapes
and live in ``flows/`` and ``blocks/``), and decisions about instances.

Importing this package does not import Prefect; connecting does.
"""

from prefect_instances.libs.adapters.prefect.api import Refused
from prefect_instances.libs.adapters.prefect.automations import AutomationPlan, AutomationView
from prefect_instances.libs.adapters.prefect.change import Change, EnsureResult
from prefect_instances.libs.adapters.prefect.deployment_drift import list_deployment_edits
from prefect_instances.libs.adapters.prefect.deployments import DeploymentPlan, DeploymentView
from prefect_instances.libs.adapters.prefect.flows import (
    FlowFacts,
    build_parameter_schema,
    describe_flow,
)
from prefect_instances.libs.adapters.prefect.gateway import PrefectGateway, read_configured_api_url
from prefect_instances.libs.adapters.prefect.own_settings import UnusableSettings, require_settings
from prefect_instances.libs.adapters.prefect.runs import ENDED, LIVE, KeyTaken, RunState, RunView
from prefect_instances.libs.adapters.prefect.schedules import Every, ScheduleView

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
    "KeyTaken",
    "PrefectGateway",
    "Refused",
    "RunState",
    "RunView",
    "ScheduleView",
    "UnusableSettings",
    "build_parameter_schema",
    "describe_flow",
    "list_deployment_edits",
    "read_configured_api_url",
    "require_settings",
]
