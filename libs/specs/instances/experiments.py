"""Spec of an experiment: an expression to evaluate before it becomes a signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from prefect_instances.libs.specs.instances.components import ExecutorSpec
from prefect_instances.libs.specs.instances.instance import EXECUTOR, InstanceFields
from prefect_instances.libs.specs.instances.optimizers import Day
from prefect_instances.libs.specs.instances.sweeps import (
    CONSTANT,
    Point,
    SweepSpec,
    is_number,
    locate_values,
    write_constants,
)
from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Config, Text, Whole
from prefect_instances.libs.specs.reading.names import OptionalWord
from prefect_instances.libs.specs.reading.problems import Fault
from prefect_instances.libs.specs.timing.schedules import CalendarName


class PreviewRange(SpecModel):
    """The dates that an experiment evaluates."""

    model_config = ConfigDict(title="Dates")

    start: Day = Field(
        default="",
        title="First day",
        description="Empty: from the first value on.",
        examples=["2020-01-01"],
    )
    end: Day = Field(
        default="",
        title="Last day",
        description="Empty: as far as the inputs reach.",
        examples=["2022-12-31"],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that the dates are in order."""
        start, end = str(values.get("start") or ""), str(values.get("end") or "")
        if start and end and start > end:
            yield Fault(("end",), f"is before the first day ({start})")


class ExperimentSpec(InstanceFields):
    """Spec of an experiment: an expression over upstreams, and statistics of its values."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        **InstanceFields.ALIASES,
        "date_range_json": "date_range",
        "definition_resource_id": "definition",
        "definition_version_id": "version",
        "config_json": "config",
    }
    PARTS: ClassVar[tuple[str, ...]] = (EXECUTOR,)

    expression: Text = Field(
        default="",
        title="Expression",
        description="A formula over columns of the upstreams, as in the pipeline expression; empty "
        "if a definition is named.",
        examples=["ZSCORE(DELTA(close, 252) / REF(close, 252))"],
    )
    definition: OptionalWord = Field(
        default="",
        title="Definition",
        description="Name or id of an op or a macro to evaluate, instead of an expression.",
        examples=["TS_ZSCORE"],
    )
    version: OptionalWord = Field(
        default="",
        title="Version",
        description="Version of the definition, or its id; empty: the newest.",
        examples=["1.0.0"],
    )
    config: Config = Field(
        default_factory=dict,
        title="Arguments",
        description="Arguments of the definition, by name: a series is a field or an expression "
        "(default: the argument's own name), a constant is a number.",
        examples=[{"x": "close", "d": 252}],
    )
    inputs: Config = Field(
        default_factory=dict,
        title="Inputs",
        description="Where names of the expression come from: name -> role, column, symbol; "
        "a name that is not listed is a column of the first upstream.",
        examples=[{"close": {"role": "input", "column": "close"}}],
    )
    ops: Config = Field(
        default_factory=dict,
        title="Versions",
        description=(
            "Pinned versions of ops and macros, by name. Others use the newest version at the "
            "time when the experiment is created, and keep it."
        ),
        examples=[{"ZSCORE": "1.0.0"}],
    )
    date_range: PreviewRange = Field(
        default_factory=PreviewRange,
        title="Dates",
        description="The dates to evaluate.",
        examples=[{"start": "2020-01-01"}],
    )
    universe: list[Text] = Field(
        default_factory=list,
        title="Universe",
        description="Symbols that are looked at; empty for all. The expression itself always sees "
        "all of them.",
        examples=[["AAPL", "MSFT"]],
    )
    price_column: Text = Field(
        default="close",
        title="Price column",
        description=(
            "Column of the prices for forward returns, in the first upstream that has it. "
            "Without it there is no information coefficient."
        ),
        examples=["close"],
    )
    horizons: list[Whole] = Field(
        default_factory=lambda: [1, 5, 10, 21, 63],
        title="Horizons",
        description=(
            "Horizons of the forward returns, in bars, for the decay of the information "
            "coefficient."
        ),
        examples=[[1, 5, 21]],
    )
    calendar: CalendarName = Field(
        default="",
        title="Calendar",
        description="Exchange calendar whose sessions are the bars of the horizons; empty: the "
        "dates on which a symbol with values has a price.",
        examples=["XNYS"],
    )
    executor: ExecutorSpec = Field(
        default_factory=ExecutorSpec,
        title="Executor",
        description="Where the expression and the points of a sweep are computed; it never changes "
        "the result.",
        examples=[{"definition": "local"}],
    )
    sweep: SweepSpec = Field(
        default_factory=SweepSpec,
        title="Sweep",
        description=(
            "Points that each run evaluates and compares; none is chosen. The output is that of "
            "the arguments as configured; a parameter that is not configured has its value of the "
            "first point."
        ),
        examples=[{"grid": {"window": [5, 21, 63]}}],
    )
    type: Literal["ExperimentInstance"] = Field(
        default="ExperimentInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["ExperimentInstance"],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Extend the base check by the expression or definition, and by horizons of at least 1."""
        yield from super().across(values)
        yield from _subject_faults(values)
        if not values.get("definition"):
            yield from _constant_faults(values)
        horizons = values.get("horizons")
        for at, horizon in enumerate(horizons if isinstance(horizons, list) else ()):
            if isinstance(horizon, int) and horizon < 1:
                yield Fault(("horizons", at), "must be at least 1")

    def output_content(self) -> dict[str, Any]:
        """Extend the base class by everything that affects the statistics."""
        keys = {"expression", "inputs", "date_range", "universe", "price_column", "horizons"}
        keys |= {"calendar"}
        pinned: dict[str, Any] = {"ops": self.ops} if self.ops else {}
        if self.definition:
            keys |= {"definition", "version", "config"}
        if self.sweep.list_points():
            keys |= {"sweep"}
        return {**super().output_content(), **self.model_dump(mode="json", include=keys), **pinned}

    def base_point(self) -> Point:
        """Return the point of the output: as configured, otherwise as the first of the sweep.

        Empty without a sweep.
        """
        first = next(iter(self.sweep.list_points()), {})
        return {name: self.config.get(name, value) for name, value in first.items()}

    def at_point(self, point: Point) -> Self:
        """Return the experiment that evaluates one point only, without a sweep."""
        changed: dict[str, Any] = {"expression": write_constants(self.expression, point)}
        if self.definition:
            changed = {"config": {**self.config, **point}}
        return self.model_copy(update={**changed, "sweep": SweepSpec()})


def _constant_faults(values: Mapping[str, Any]) -> Iterable[Fault]:
    """Report constants without a value, values of no constant, and values that are texts."""
    expression = values.get("expression")
    if not isinstance(expression, str) or not expression:
        return
    written = dict.fromkeys(CONSTANT.findall(expression))
    swept = locate_values(values.get("sweep"))
    for name in written.keys() - {name for name, _, _ in swept}:
        yield Fault(("expression",), f"has a constant ${name} that the sweep gives no value")
    told = set()
    for name, at, value in swept:
        if name not in written and name not in told:
            told.add(name)
            where = at[:-1] if at[1] == "grid" else at
            yield Fault(where, f"the expression has no constant ${name}")
        elif name in written and isinstance(value, str) and not is_number(value):
            yield Fault(at, "must be a number: it stands for a constant of the expression")


def _subject_faults(values: Mapping[str, Any]) -> Iterable[Fault]:
    """Report an experiment with neither an expression nor a definition, or with both."""
    expression, definition = values.get("expression"), values.get("definition")
    if not expression and not definition:
        yield Fault(("expression",), "is missing: write an expression, or name a definition")
    if expression and definition:
        yield Fault(("expression",), "cannot be given together with a definition")
    for key in ("version", "config") if not definition else ():
        if values.get(key):
            yield Fault((key,), "belongs to a definition, and none is named")
