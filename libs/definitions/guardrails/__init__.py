"""Guardrail contracts: rules for instances, runs and data that the flows check.

What belongs here: the kinds of contract and how one is judged, without reading anything itself.
What must not: collecting the evidence, or storing reports (``libs.services.runs.guardrails``).
"""

from prefect_instances.libs.definitions.guardrails.contract import (
    Contract,
    Declared,
    Evidence,
    Gate,
    Guardrail,
    GuardrailMode,
    InputFacts,
    Report,
    Violation,
    judge,
)
from prefect_instances.libs.definitions.guardrails.data import (
    DatasetContinuity,
    DatasetFreshness,
    DatasetSchema,
    PointInTimePolicy,
    SignalBounds,
    UsablePrices,
)
from prefect_instances.libs.definitions.guardrails.models import ModelValidation
from prefect_instances.libs.definitions.guardrails.portfolio import (
    PortfolioLeverage,
    PortfolioWeights,
)

BUILT_IN: tuple[type[Guardrail], ...] = (
    DatasetSchema,
    DatasetFreshness,
    DatasetContinuity,
    UsablePrices,
    SignalBounds,
    PointInTimePolicy,
    PortfolioWeights,
    PortfolioLeverage,
    ModelValidation,
)
"""The built-in kinds; other packages add more by entry points."""

__all__ = [
    "BUILT_IN",
    "Contract",
    "Declared",
    "Evidence",
    "Gate",
    "Guardrail",
    "GuardrailMode",
    "InputFacts",
    "Report",
    "Violation",
    "judge",
]
