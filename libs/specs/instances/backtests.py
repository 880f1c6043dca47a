"""Spec of a backtest: assets, signals, dates and the parameters of the fixed procedure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from prefect_instances.libs.core.dates import parse_day
from prefect_instances.libs.specs.instances.instance import InstanceFields
from prefect_instances.libs.specs.instances.optimizers import Day, day_faults, one_number_box
from prefect_instances.libs.specs.instances.references import UpstreamRef
from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Number, Text, Whole
from prefect_instances.libs.specs.reading.names import OptionalReference
from prefect_instances.libs.specs.reading.problems import Fault
from prefect_instances.libs.specs.timing.schedules import CalendarName


class OptionalRef(UpstreamRef):
    """An optional upstream; ``resource`` is empty if there is none."""

    model_config = ConfigDict(title="Upstream")

    resource: OptionalReference = Field(
        default="",
        title="Resource",
        description="The upstream instance: its name, project/name, or id; empty for none.",
        examples=["sp500_prices"],
    )


class AssetsSpec(SpecModel):
    """The traded assets and the benchmark."""

    model_config = ConfigDict(title="Assets")

    universe: list[Text] = Field(
        default_factory=list,
        title="Universe",
        description="Symbols to trade; empty for all that the prices have.",
        examples=[["SPY", "QQQ", "IWM"]],
    )
    benchmark: Text = Field(
        default="",
        title="Benchmark",
        description="Symbol to compare with; empty for none.",
        examples=["SPY"],
    )
    prices: OptionalRef = Field(
        default_factory=OptionalRef,
        title="Prices",
        description="The dataset with the prices; empty: the one source that the primary signal "
        "is computed from.",
        examples=["sp500_prices"],
    )
    benchmark_prices: OptionalRef = Field(
        default_factory=OptionalRef,
        title="Benchmark's prices",
        description="The dataset with the benchmark; empty where it is among the prices.",
        examples=["sp500_index"],
    )
    price_column: Text = Field(
        default="close",
        title="Price column",
        description="Column of the prices, adjusted for splits and dividends.",
        examples=["close"],
    )


class SignalsSpec(SpecModel):
    """The signals that determine the portfolio."""

    model_config = ConfigDict(title="Signals")

    primary: UpstreamRef = Field(
        title="Primary signal",
        description="A signal, or a model's predictions.",
        examples=["momentum_12m"],
    )
    secondary: list[UpstreamRef] = Field(
        default_factory=list,
        title="Secondary signals",
        description="Averaged with the primary signal, by ranks across the assets of a day.",
        examples=[["reversal_1m"]],
    )
    optimizer: OptionalRef = Field(
        default_factory=OptionalRef,
        title="Optimizer",
        description=(
            "Optimizer whose weights are held, instead of weights from the signals; empty for none."
        ),
        examples=["max_utility"],
    )


class DateRange(SpecModel):
    """The first and the last day of the backtest."""

    model_config = ConfigDict(title="Dates")

    start: Day = Field(
        default="",
        title="First day",
        description="No trades before this day.",
        examples=["2024-01-01"],
    )
    end: Day = Field(
        default="",
        title="Last day",
        description="Empty: the last day of the prices; new data extend the backtest.",
        examples=["2024-03-31"],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that there is a start and that it is before the end."""
        start, end = (_day(values.get(key)) for key in ("start", "end"))
        if not values.get("start"):
            yield Fault(("start",), "is missing: the first day of the backtest")
        if start and end and start >= end:
            yield Fault(("end",), f"must be after the first day ({start})")


def _day(value: Any) -> date | None:
    if isinstance(value, date):
        return value
    try:
        return parse_day(str(value))
    except ValueError:
        return None


def _one_whole_box(schema: dict[str, Any]) -> None:
    """Show one field for a whole number in a form."""
    one_number_box(schema)
    schema["type"] = "integer"


class BacktestConfig(SpecModel):
    """The parameters of the backtest procedure."""

    model_config = ConfigDict(title="Rules")
    ALIASES: ClassVar[Mapping[str, str]] = {
        "rebalance": "rebalance_frequency",
        "commission": "transaction_costs",
    }

    rebalance_frequency: Literal["daily", "weekly", "monthly"] = Field(
        default="monthly",
        title="Rebalancing",
        description="How often the portfolio is decided; trades execute on the next bar.",
        examples=["daily"],
    )
    rebalance_day: Text = Field(
        default="",
        title="Rebalancing day",
        description="A weekday for weekly, a day of the month or end for monthly; "
        "empty: friday, end.",
        examples=["end"],
    )
    transaction_costs: Number = Field(
        default=0.001,
        ge=0,
        lt=1,
        title="Commission",
        description="Fraction of the traded value.",
        examples=[0.001],
    )
    slippage_model: Literal["none", "fixed", "linear", "sqrt"] = Field(
        default="none",
        title="Slippage model",
        description="How the price moves against a trade: not, by a fixed rate, in proportion to "
        "its size, or to the root of it.",
        examples=["linear"],
    )
    slippage_rate: Number = Field(
        default=0.0005,
        ge=0,
        lt=1,
        title="Slippage rate",
        description="Fraction of the traded value; for linear and sqrt that of a trade as large "
        "as the portfolio.",
        examples=[0.0005],
    )
    initial_capital: Number = Field(
        default=1_000_000.0,
        gt=0,
        title="Initial capital",
        description="Cash on the first day.",
        examples=[1_000_000],
    )
    weighting: Literal["top", "proportional"] = Field(
        default="top",
        title="Weighting",
        description="Without an optimizer: equal weights of the highest signals, or weights in "
        "proportion to the positive part of the signals' mean.",
        examples=["top"],
    )
    top_fraction: Number = Field(
        default=0.2,
        gt=0,
        le=1,
        title="Top fraction",
        description="Part of the assets that is held, for the weighting top.",
        examples=[0.2],
    )
    max_age_days: Whole = Field(
        default=40,
        ge=1,
        title="Age of a signal",
        description="Calendar days after which a signal or weight counts as missing.",
        examples=[40],
    )

    calendar: CalendarName = Field(
        default="",
        title="Calendar",
        description="Exchange calendar whose sessions are the bars; empty: the dates on which a "
        "symbol of the universe has a price.",
        examples=["XNYS"],
    )
    order_expiry: Whole | None = Field(
        default=None,
        ge=0,
        title="Expiry of orders",
        description="Bars that an order without a price waits after its own; empty: until the "
        "next decision.",
        examples=[5],
        json_schema_extra=_one_whole_box,
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that the day fits the frequency and that costs stay below the traded value."""
        yield from day_faults(values, "rebalance_frequency", "rebalance_day")
        yield from _cost_faults(values)


_MARGINAL: Mapping[str, float] = {"none": 0.0, "fixed": 1.0, "linear": 2.0, "sqrt": 1.5}
"""Marginal slippage, in multiples of the rate, of a trade as large as the portfolio."""


def _cost_faults(values: Mapping[str, Any]) -> Iterable[Fault]:
    """Report costs so high that a larger trade costs as much as it is worth."""
    fields = BacktestConfig.model_fields
    names = ("transaction_costs", "slippage_rate", "slippage_model")
    costs, rate, model = (values.get(name, fields[name].default) for name in names)
    if not isinstance(costs, int | float) or not isinstance(rate, int | float):
        return
    marginal = costs + _MARGINAL.get(str(model), 0.0) * rate
    if marginal >= 1:
        text = (
            f"costs too much with a commission of {costs:g}: a trade as large as the portfolio "
            f"would cost {marginal:.0%} of each further unit traded; it must be below 100%"
        )
        yield Fault(("slippage_rate",), text)


class BacktestSpec(InstanceFields):
    """Spec of a backtest; the procedure is fixed, so it has no definition."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        **InstanceFields.ALIASES,
        "assets_json": "assets",
        "signals_json": "signals",
        "date_range_json": "date_range",
        "config_json": "config",
    }

    assets: AssetsSpec = Field(
        default_factory=AssetsSpec,
        title="Assets",
        description="What is traded, and the benchmark.",
        examples=[{"universe": ["SPY", "QQQ"], "benchmark": "SPY"}],
    )
    signals: SignalsSpec = Field(
        title="Signals",
        description="The signals that determine the portfolio.",
        examples=[{"primary": "momentum_12m"}],
    )
    date_range: DateRange = Field(
        title="Dates",
        description="The first and the last day.",
        examples=[{"start": "2024-01-01", "end": "2024-03-31"}],
    )
    config: BacktestConfig = Field(
        default_factory=BacktestConfig,
        title="Rules",
        description="Rebalancing, costs and capital.",
        examples=[{"rebalance_frequency": "daily", "transaction_costs": 0.001}],
    )
    type: Literal["BacktestInstance"] = Field(
        default="BacktestInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["BacktestInstance"],
    )

    def references(self) -> list[tuple[str, UpstreamRef]]:
        """Return upstreams as the base class does, and those of signals, optimizer and prices."""
        found = [("signals.primary", "primary", self.signals.primary)]
        found += [
            (f"signals.secondary[{at}]", "secondary", ref)
            for at, ref in enumerate(self.signals.secondary)
        ]
        optional = (
            ("signals.optimizer", "optimizer", self.signals.optimizer),
            ("assets.prices", "prices", self.assets.prices),
            ("assets.benchmark_prices", "benchmark", self.assets.benchmark_prices),
        )
        found += [(path, role, ref) for path, role, ref in optional if ref.resource]
        named = [(path, ref.model_copy(update={"role": role})) for path, role, ref in found]
        return [*super().references(), *named]

    def output_content(self) -> dict[str, Any]:
        """Extend the base class by everything that affects the equity."""
        content = self.model_dump(mode="json", include={"date_range", "config"})
        content["assets"] = [
            self.assets.universe,
            self.assets.benchmark,
            self.assets.price_column,
        ]
        return {**super().output_content(), **content}
