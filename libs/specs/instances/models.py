"""Spec of a model: target, features, evaluation, promotion and monitoring."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from prefect_instances.libs.specs.instances.components import ComponentSpec
from prefect_instances.libs.specs.instances.instance import InstanceFields
from prefect_instances.libs.specs.reading.base import Reading, SpecModel
from prefect_instances.libs.specs.reading.json_values import Number, Text, Whole
from prefect_instances.libs.specs.reading.names import Name
from prefect_instances.libs.specs.reading.problems import Fault, Loc
from prefect_instances.libs.specs.timing.schedules import ScheduleSpec

KINDS = ("training", "inference", "monitoring")


class TargetSpec(SpecModel):
    """The prediction target: the return of a column over the following sessions."""

    model_config = ConfigDict(title="Target")

    role: Name = Field(
        default="prices",
        title="Role",
        description="Role of the upstream that has the column.",
        examples=["prices"],
    )
    column: Text = Field(
        default="close", title="Column", description="A price level.", examples=["close"]
    )
    horizon: Whole = Field(
        default=5, ge=1, le=500, title="Horizon", description="Sessions ahead.", examples=[5]
    )


class FeatureSpec(SpecModel):
    """A feature: a column of an upstream, lagged by some sessions."""

    model_config = ConfigDict(title="Feature")

    role: Name = Field(
        default="features",
        title="Role",
        description="Role of the upstream that has the column.",
        examples=["momentum"],
    )
    column: Text = Field(
        default="value", title="Column", description="A number.", examples=["value"]
    )
    lags: list[Whole] = Field(
        default_factory=lambda: [0],
        title="Lags",
        description="Lags in sessions; each is a feature of its own, 0 is the date itself.",
        examples=[[0, 5, 20]],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that lags look back and do not repeat."""
        lags = values.get("lags")
        if not isinstance(lags, list):
            return
        if not lags:
            yield Fault(("lags",), "must contain at least one number of sessions")
        if any(isinstance(lag, int) and lag < 0 for lag in lags):
            yield Fault(("lags",), "must not be negative: that would look into the future")
        if len({str(lag) for lag in lags}) != len(lags):
            yield Fault(("lags",), "names a lag more than once")


MAX_FOLDS = 100
"""More models in one training are refused."""


class SplitSpec(SpecModel):
    """The split of history in time: training, a gap, validation; once or in several folds."""

    model_config = ConfigDict(title="Split")

    validation: Number = Field(
        default=0.2,
        gt=0,
        lt=1,
        title="Validation",
        description="Share of the newest sessions, used to evaluate the model. With expanding and "
        "rolling the folds divide it among themselves.",
        examples=[0.2],
    )
    embargo: Whole = Field(
        default=0,
        ge=0,
        title="Embargo",
        description="Sessions left out before the validation; never fewer than the horizon. With "
        "combinatorial: after each test block, in addition to the horizon.",
        examples=[10],
    )
    method: Literal["single", "expanding", "rolling", "combinatorial"] = Field(
        default="single",
        title="Method",
        description="single: one validation. expanding: walk forward, each fold is trained on "
        "everything before its test. rolling: the same with a window of fixed length. "
        "combinatorial: each combination of blocks is a test (combinatorial purged "
        "cross-validation). Scores are means over folds.",
        examples=["expanding"],
    )
    folds: Whole = Field(
        default=5,
        ge=2,
        le=50,
        title="Folds",
        description="Tests that follow each other, or blocks of sessions with combinatorial.",
        examples=[5],
    )
    window: Whole = Field(
        default=0,
        ge=0,
        title="Window",
        description="Sessions that each fold is trained on with rolling; 0: as many as there are "
        "before the first test.",
        examples=[504],
    )
    test_folds: Whole = Field(
        default=2,
        ge=2,
        le=10,
        title="Test blocks",
        description="Blocks that are tested together with combinatorial.",
        examples=[2],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that the folds can be made, and that there are not too many."""
        method = values.get("method", "single")
        folds, tested = values.get("folds", 5), values.get("test_folds", 2)
        if values.get("window") and method != "rolling":
            yield Fault(("window",), "belongs to the method rolling")
        if method != "combinatorial" or not isinstance(folds, int) or not isinstance(tested, int):
            return
        if tested >= folds:
            yield Fault(("test_folds",), f"must be less than the number of folds ({folds})")
        elif tested > 0 and (count := math.comb(folds, tested)) > MAX_FOLDS:
            text = f"makes {count:,} combinations, at most {MAX_FOLDS} are allowed"
            yield Fault(("folds",), text)


class PromotionSpec(SpecModel):
    """When a newly trained model becomes the champion; the first one always does."""

    model_config = ConfigDict(title="Promotion")

    rule: Literal["better", "always"] = Field(
        default="better",
        title="Rule",
        description="better: if the model beats the champion on the same validation rows; always.",
        examples=["better"],
    )
    metric: Literal["ic", "rmse", "r2", "hit_rate"] = Field(
        default="ic",
        title="Metric",
        description="Metric by which the new model and the champion are compared.",
        examples=["ic"],
    )
    min_improvement: Number = Field(
        default=0.0,
        ge=0,
        title="Least improvement",
        description="Minimum improvement over the champion.",
        examples=[0.01],
    )


class MonitoringSpec(SpecModel):
    """Which data are compared for drift, and what follows from drift."""

    model_config = ConfigDict(title="Monitoring")

    drift_threshold: Number = Field(
        default=0.5,
        ge=0,
        le=1,
        title="Drift threshold",
        description="Share of drifted features at which the data count as drifted.",
        examples=[0.5],
    )
    on_drift: Literal["none", "retrain"] = Field(
        default="none",
        title="On drift",
        description="retrain: the training becomes stale and runs again.",
        examples=["retrain"],
    )
    reference_days: Whole = Field(
        default=252,
        ge=5,
        title="Reference window",
        description="Number of sessions before the current window, which it is compared with.",
        examples=[252],
    )
    current_days: Whole = Field(
        default=63,
        ge=5,
        title="Current window",
        description="The newest sessions whose outcome is known.",
        examples=[63],
    )


class FlowSchedules(SpecModel):
    """A schedule for each flow of a model; a flow without one runs only by its upstreams.

    Schedules of added flows may be written here too; they are stored in ``flow_schedules``.
    """

    model_config = ConfigDict(title="Schedules")

    training: ScheduleSpec = Field(
        default_factory=ScheduleSpec,
        title="Training",
        description="When it is trained again.",
        examples=[{"type": "cron", "expression": "0 6 1 * *"}],
    )
    inference: ScheduleSpec = Field(
        default_factory=ScheduleSpec,
        title="Inference",
        description="When it predicts, in addition to new upstream data.",
        examples=[{"type": "manual"}],
    )
    monitoring: ScheduleSpec = Field(
        default_factory=ScheduleSpec,
        title="Monitoring",
        description="When it is monitored, in addition to after each inference.",
        examples=[{"type": "manual"}],
    )


def _read_flat_schedule(reading: Reading) -> None:
    """Take one schedule without a flow's name as that of the training."""
    written = reading.values.get("schedule")
    flat = isinstance(written, ScheduleSpec) or (
        isinstance(written, Mapping)
        and not any(key in KINDS for key in written)
        and any(
            key in ScheduleSpec.model_fields and not isinstance(value, Mapping)
            for key, value in written.items()
        )
    )
    if flat:
        reading.values["schedule"] = {"training": written}
        reading.written[("schedule", "training")] = reading.written[("schedule",)]


class ModelSpec(InstanceFields):
    """Spec of a model that learns from features of its upstreams and predicts returns."""

    LIFTED: ClassVar[Mapping[str, tuple[str, str]]] = {
        "definition": ("module", "definition"),
        "definition_resource_id": ("module", "definition"),
        "version": ("module", "version"),
        "definition_version_id": ("module", "version"),
        "config": ("module", "config"),
        "config_json": ("module", "config"),
    }
    PARTS: ClassVar[tuple[str, ...]] = ("module",)

    module: ComponentSpec = Field(
        title="Module",
        description="The learning algorithm.",
        examples=[{"definition": "gradient_boosting", "config": {"trees": 100}}],
    )
    target: TargetSpec = Field(
        default_factory=TargetSpec,
        title="Target",
        description="What is predicted.",
        examples=[{"role": "prices", "column": "close", "horizon": 5}],
    )
    features: list[FeatureSpec] = Field(
        title="Features",
        description="What it is predicted from.",
        examples=[[{"role": "momentum", "column": "value", "lags": [0, 5]}]],
    )
    split: SplitSpec = Field(
        default_factory=SplitSpec,
        title="Split",
        description="How history is divided in time.",
        examples=[{"validation": 0.2, "embargo": 10}],
    )
    promotion: PromotionSpec = Field(
        default_factory=PromotionSpec,
        title="Promotion",
        description="When a new model becomes the champion.",
        examples=[{"metric": "ic"}],
    )
    monitoring: MonitoringSpec = Field(
        default_factory=MonitoringSpec,
        title="Monitoring",
        description="How the model is monitored.",
        examples=[{"drift_threshold": 0.5, "on_drift": "retrain"}],
    )
    schedule: FlowSchedules = Field(  # type: ignore[assignment]  # one for each flow
        default_factory=FlowSchedules,
        title="Schedules",
        description="When each flow is due, and how failures are retried; a schedule without the "
        "name of a flow is that of the training.",
        examples=[{"training": {"type": "cron", "expression": "0 6 1 * *"}}],
    )
    type: Literal["ModelInstance"] = Field(
        default="ModelInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["ModelInstance"],
    )

    def written_schedule(self, kind: str) -> ScheduleSpec:
        """Return the flow's schedule as the spec writes it; each flow has its own."""
        if kind not in KINDS:
            return super().written_schedule(kind)
        found = getattr(self.schedule, kind)
        assert isinstance(found, ScheduleSpec)
        return found

    @classmethod
    def read_keys(cls, document: Mapping[Any, Any], reading: Reading, at: Loc) -> None:
        """Read as the base class does; move schedules of added flows to ``flow_schedules``."""
        super().read_keys(document, reading, at)
        _read_flat_schedule(reading)
        written, held = reading.values.get("schedule"), reading.values.get("flow_schedules", {})
        if not isinstance(written, Mapping) or not isinstance(held, Mapping):
            return
        start = reading.written[("schedule",)]
        added = Reading(dict(held), {(kind,): ("flow_schedules", str(kind)) for kind in held})
        moved = {
            kind: schedule
            for kind, schedule in written.items()
            if kind not in KINDS and isinstance(schedule, Mapping | ScheduleSpec)
        }
        for kind, schedule in moved.items():
            added.put(kind, schedule, (*start, str(kind)))
        reading.faults += added.faults
        reading.written |= {("flow_schedules", *key): at for key, at in added.written.items()}
        reading.values["flow_schedules"] = added.values
        reading.values["schedule"] = {k: v for k, v in written.items() if k not in moved}

    @classmethod
    def flow_schedule_path(cls, kind: str) -> str:
        """Return the path of an added flow's schedule, beside those of the model's own flows."""
        return f"schedule.{kind}"

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check as the base class does, and that there is a feature."""
        yield from super().across(values)
        if values.get("features") == []:
            yield Fault(("features",), "must contain at least one feature")

    def output_content(self) -> dict[str, Any]:
        """Extend the base class by everything that affects training and predictions."""
        keys = {"target", "features", "split", "promotion", "monitoring"}
        return {**super().output_content(), **self.model_dump(mode="json", include=keys)}

    def flow_content(self, kind: str) -> dict[str, Any]:
        """Return everything that affects the output of one flow of the model.

        Inference depends on the upstreams only, monitoring also on target and monitoring: a new
        model reaches them through its edge. Training and added flows depend on all fields but
        monitoring.
        """
        content = self.output_content()
        own = {"inference": {"upstreams"}, "monitoring": {"upstreams", "target", "monitoring"}}
        keys = own.get(kind, content.keys() - {"monitoring"})
        return {key: value for key, value in content.items() if key in keys}
