"""Spec of a portfolio optimizer: its definition, upstreams and constraints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from prefect_instances.libs.core.dates import parse_day
from prefect_instances.libs.specs.instances.components import ComponentSpec
from prefect_instances.libs.specs.instances.instance import InstanceFields, read_references
from prefect_instances.libs.specs.reading.base import Reading, SpecModel
from prefect_instances.libs.specs.reading.json_values import Number, Text, Whole
from prefect_instances.libs.specs.reading.names import Name
from prefect_instances.libs.specs.reading.problems import Fault, Loc


def one_number_box(schema: dict[str, Any]) -> None:
    """Show one number field in a form; "number or null" would appear as two tabs."""
    schema.pop("anyOf", None)
    schema.pop("default", None)
    schema["type"] = "number"


def checked_day(text: str) -> str:
    """Validate an ISO date or empty text; raise ``ValueError`` as ``parse_day`` does otherwise."""
    if text:
        parse_day(text)
    return text


def _day_as_text(value: Any) -> Any:
    """Convert a date to text, because YAML reads an unquoted date as a date."""
    return value.isoformat() if isinstance(value, date) else value


Day = Annotated[Text, BeforeValidator(_day_as_text), AfterValidator(checked_day)]
"""A date as text (``2024-01-31``), or empty, so that a form shows one text box."""


class SectorLimit(SpecModel):
    """The symbols of a sector and the bounds of the sum of their weights."""

    model_config = ConfigDict(title="Sector limit")

    sector: Name = Field(title="Sector", description="Name of the sector.", examples=["technology"])
    symbols: list[Text] = Field(
        title="Symbols", description="The assets that belong to it.", examples=[["AAPL", "MSFT"]]
    )
    min_weight: Number = Field(
        default=0.0,
        title="Lowest weight",
        description="Lowest sum of the weights of the sector.",
        examples=[0.0],
    )
    max_weight: Number = Field(
        default=1.0,
        title="Highest weight",
        description="Highest sum of the weights of the sector.",
        examples=[0.4],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that the bounds are in order."""
        low, high = values.get("min_weight", 0.0), values.get("max_weight", 1.0)
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield Fault(("min_weight",), f"is above max_weight ({low} > {high})")


class ConstraintsSpec(SpecModel):
    """The constraints of the weights; an omitted bound does not apply."""

    model_config = ConfigDict(title="Constraints")

    min_weight: Number | None = Field(
        default=None,
        title="Lowest weight of an asset",
        description="Below 0 allows short positions; empty: none are allowed.",
        examples=[0.0],
        json_schema_extra=one_number_box,
    )
    max_weight: Number | None = Field(
        default=None,
        title="Highest weight of an asset",
        description="Empty for no bound.",
        examples=[0.2],
        json_schema_extra=one_number_box,
    )
    sector_limits: list[SectorLimit] = Field(
        default_factory=list,
        title="Sector limits",
        description="Bounds on groups of assets.",
        examples=[[{"sector": "technology", "symbols": ["AAPL", "MSFT"], "max_weight": 0.4}]],
    )
    gross_leverage: Number | None = Field(
        default=None,
        title="Gross leverage",
        description="Highest sum of absolute weights; empty for no bound.",
        examples=[1.5],
        json_schema_extra=one_number_box,
    )
    max_turnover: Number | None = Field(
        default=None,
        title="Turnover",
        description="Highest sum of absolute changes of weights at one rebalancing; "
        "empty for no bound.",
        examples=[0.4],
        json_schema_extra=one_number_box,
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that bounds are in order and allow weights that sum to 1."""
        low, high = values.get("min_weight"), values.get("max_weight")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield Fault(("min_weight",), f"is above max_weight ({low} > {high})")
        gross = values.get("gross_leverage")
        if isinstance(gross, int | float) and gross < 1:
            yield Fault(("gross_leverage",), "must be at least 1: the weights sum to 1")
        turnover = values.get("max_turnover")
        if isinstance(turnover, int | float) and turnover <= 0:
            yield Fault(("max_turnover",), "must be more than 0")


class OptimizerSpec(InstanceFields):
    """Spec of a portfolio optimizer, which computes weights from signals and prices.

    Upstreams by role: ``prices`` (a dataset with ``close``), ``signal`` or ``input`` (any number,
    each with a column ``value`` or ``prediction``), ``covariance`` (a dataset whose rows are
    assets and whose columns are named like them).
    """

    LIFTED: ClassVar[Mapping[str, tuple[str, str]]] = {
        "definition": ("optimizer", "definition"),
        "definition_resource_id": ("optimizer", "definition"),
        "version": ("optimizer", "version"),
        "definition_version_id": ("optimizer", "version"),
        "config": ("optimizer", "config"),
        "config_json": ("optimizer", "config"),
    }
    PARTS: ClassVar[tuple[str, ...]] = ("optimizer",)

    optimizer: ComponentSpec = Field(
        title="Optimizer",
        description="The optimizer that computes the weights.",
        examples=[{"definition": "mean_variance", "config": {"risk_aversion": 5.0}}],
    )
    constraints: ConstraintsSpec = Field(
        default_factory=ConstraintsSpec,
        title="Constraints",
        description=(
            "What the weights satisfy; a constraint that the optimizer does not support is refused."
        ),
        examples=[{"max_weight": 0.2}],
    )
    covariance: Literal["shrunk", "sample", "dataset"] = Field(
        default="shrunk",
        title="Covariance",
        description="shrunk (Ledoit-Wolf) or sample, of the returns of the lookback; "
        "dataset: that of the upstream with role covariance.",
        examples=["shrunk"],
    )
    lookback_days: Whole = Field(
        default=252,
        ge=20,
        title="Lookback",
        description="Sessions of returns that the covariance is estimated from.",
        examples=[252],
    )
    rebalance: Literal["monthly", "weekly", "daily"] = Field(
        default="monthly",
        title="Rebalancing",
        description="How often weights are decided; each date uses only what was known on it.",
        examples=["monthly"],
    )
    rebalance_day: Text = Field(
        default="",
        title="Rebalancing day",
        description="A weekday for weekly, a day of the month or end for monthly; "
        "empty: friday, end.",
        examples=["end"],
    )
    start: Day = Field(
        default="",
        title="First date",
        description="First date to decide on; empty: as soon as there is a whole lookback.",
        examples=["2020-01-01"],
    )
    information_coefficient: Number = Field(
        default=0.05,
        gt=0,
        le=1,
        title="Information coefficient",
        description="Skill of the signals: expected return = this x volatility x score.",
        examples=[0.05],
    )
    without_solution: Literal["keep", "cash"] = Field(
        default="keep",
        title="Without a solution",
        description="Weights of a date on which no weights satisfy the constraints: "
        "keep the last ones, or cash (all 0).",
        examples=["keep"],
    )
    type: Literal["PortfolioOptimizerInstance"] = Field(
        default="PortfolioOptimizerInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["PortfolioOptimizerInstance"],
    )

    @classmethod
    def read(cls, document: Mapping[Any, Any]) -> Reading:
        """Read as the base class does; an upstream with the role covariance is the covariance."""
        reading = super().read(document)
        roles = {ref.values.get("role") for ref in read_references(reading.values)}
        if "covariance" in roles:
            reading.values.setdefault("covariance", "dataset")
        return reading

    @classmethod
    def read_keys(cls, document: Mapping[Any, Any], reading: Reading, at: Loc) -> None:
        """Read as the base class does; ``lookback_days`` may be in ``config_json`` too."""
        for key in ("config", "config_json"):
            held = document.get(key)
            if isinstance(held, Mapping) and "lookback_days" in held:
                reading.put("lookback_days", held["lookback_days"], (*at, key, "lookback_days"))
                rest = {name: value for name, value in held.items() if name != "lookback_days"}
                document = {**document, key: rest}
        super().read_keys(document, reading, at)

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check as the base class does, and that the day fits the frequency."""
        yield from super().across(values)
        yield from day_faults(values, "rebalance", "rebalance_day")

    def output_content(self) -> dict[str, Any]:
        """Extend the base class by everything that affects the weights."""
        keys = {
            "constraints",
            "covariance",
            "lookback_days",
            "rebalance",
            "rebalance_day",
            "start",
            "information_coefficient",
        }
        if self.without_solution != "keep":
            keys.add("without_solution")
        return {**super().output_content(), **self.model_dump(mode="json", include=keys)}


def day_faults(values: Mapping[str, Any], frequency: str, day: str) -> Iterable[Fault]:
    """Report a rebalancing day that is not valid for the frequency."""
    weekdays = ("monday", "tuesday", "wednesday", "thursday", "friday")
    how, when = values.get(frequency) or "monthly", values.get(day)
    if not isinstance(when, str) or not when:
        return
    if how == "daily":
        yield Fault((day,), "means nothing where every day is one; leave it empty")
    if how == "weekly" and when.lower() not in weekdays:
        yield Fault((day,), f"must be one of {', '.join(weekdays)}")
    month_day = when.isdigit() and 1 <= int(when) <= 31
    if how == "monthly" and when.lower() != "end" and not month_day:
        yield Fault((day,), "must be a day of the month (1 to 31) or end")
