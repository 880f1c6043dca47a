"""Guardrail contracts of an instance; they add to or replace those of its definitions."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Config, Text
from prefect_instances.libs.specs.reading.names import OptionalName


class GuardrailSpec(SpecModel):
    """One guardrail contract: its kind, the gate it is checked at, and the effect of a breach."""

    model_config = ConfigDict(title="Guardrail contract")

    kind: Text = Field(
        title="Kind",
        description="dataset.schema, dataset.freshness, dataset.continuity, dataset.prices, "
        "signal.bounds, pit.policy, portfolio.weights, portfolio.leverage, ml.validation, "
        "or an installed one.",
        examples=["dataset.freshness"],
    )
    gate: Literal["", "run.start", "data.write"] = Field(
        default="",
        title="Gate",
        description="When it is checked; empty: the default gate of the kind.",
        examples=["run.start"],
    )
    mode: Literal["block", "warn"] = Field(
        default="block",
        title="Mode",
        description="block: a broken contract fails the run; warn: it is only reported.",
        examples=["warn"],
    )
    flow: OptionalName = Field(
        default="",
        title="Flow",
        description="Check only runs of this flow; empty: all flows that the kind judges.",
        examples=["training"],
    )
    config: Config = Field(
        default_factory=dict,
        title="Configuration",
        description="Parameters of the kind.",
        examples=[{"max_age_days": 5}],
    )
