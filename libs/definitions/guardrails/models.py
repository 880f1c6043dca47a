"""Contracts on models: minimum quality before a model is published."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.definitions.guardrails.contract import (
    Evidence,
    Gate,
    Guardrail,
    Violation,
)


class Bounds(BaseModel):
    """The lowest and highest allowed value of a metric; None for no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None


class ModelValidation(Guardrail):
    """``ml.validation``: bounds on metrics of a training, computed on its validation rows.

    With ``flow: monitoring`` it judges the metrics on realised values. A metric that is missing or
    not a number violates it.
    """

    name = "ml.validation"
    gates = (Gate.WRITE,)
    flows = (FlowKind.TRAINING, FlowKind.MONITORING)
    usual_flow = FlowKind.TRAINING

    class Config(Guardrail.Config):
        """Parameters of the contract."""

        metrics: dict[str, Bounds] = Field(
            min_length=1, description="Metric: {min: ..., max: ...}, such as ic, rmse, r2."
        )

    config: Config

    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """See ``Guardrail.check``."""
        for name, bounds in self.config.metrics.items():
            value = evidence.metrics.get(name)
            if not isinstance(value, int | float) or math.isnan(value):
                there = sorted(k for k, v in evidence.metrics.items() if isinstance(v, int | float))
                yield Violation(f"there is no {name} (there are {', '.join(there)})")
            elif bounds.min is not None and value < bounds.min:
                text = f"{name} is {value:.4g}, below {bounds.min:g}"
                yield Violation(text, {"metric": name, "value": value})
            elif bounds.max is not None and value > bounds.max:
                text = f"{name} is {value:.4g}, above {bounds.max:g}"
                yield Violation(text, {"metric": name, "value": value})
