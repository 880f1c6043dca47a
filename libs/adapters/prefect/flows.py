"""Facts about a flow that its deployments need, found by its entrypoint.

Layers below ``flows/`` name flows by entrypoint and never import them; this module imports them
when a deployment is created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.core.errors import PermanentError

if TYPE_CHECKING:
    from prefect import Flow


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """The facts about a flow for its deployments; ``entrypoint`` is ``package.module.flow``."""

    entrypoint: str
    name: str
    description: str
    parameter_schema: Mapping[str, Any]


@lru_cache
def describe_flow(entrypoint: str) -> FlowFacts:
    """Import the flow at ``entrypoint`` and describe it.

    Raises PermanentError if it cannot be imported or is not a flow.
    """
    from prefect import Flow

    module_name, _, attribute = entrypoint.rpartition(".")
    try:
        flow = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PermanentError(f"flow {entrypoint} cannot be imported: {error}") from error
    if not isinstance(flow, Flow):
        raise PermanentError(f"{entrypoint} is not a Prefect flow: decorate it with @flow")
    return FlowFacts(entrypoint, flow.name, flow.description or "", build_parameter_schema(flow))


def build_parameter_schema(flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a flow's parameters, as ``prefect deploy`` stores it."""
    schema: dict[str, Any] = flow.parameters.model_dump(mode="json", exclude_unset=True)
    return schema
