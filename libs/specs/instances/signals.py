"""The contract that the values of a signal satisfy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Number, Text
from prefect_instances.libs.specs.reading.problems import Fault


def _one_number_box(schema: dict[str, Any]) -> None:
    """Show one number field in a form; "number or null" would appear as two tabs."""
    schema.pop("anyOf", None)
    schema.pop("default", None)
    schema["type"] = "number"


def _checked_columns(columns: list[str]) -> list[str]:
    if not columns:
        raise ValueError("must name at least one column")
    if any(not column for column in columns):
        raise ValueError("must not contain an empty name")
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise ValueError(f"names {', '.join(repeated)} more than once")
    return columns


Columns = Annotated[list[Text], AfterValidator(_checked_columns)]


class SignalContract(SpecModel):
    """The contract of every published value of a signal; an omitted bound does not apply."""

    model_config = ConfigDict(title="Signal contract")

    min_value: Number | None = Field(
        default=None,
        title="Lowest value",
        description="Values below it fail the run; empty for no bound.",
        examples=[-3.0],
        json_schema_extra=_one_number_box,
    )
    max_value: Number | None = Field(
        default=None,
        title="Highest value",
        description="Values above it fail the run; empty for no bound.",
        examples=[3.0],
        json_schema_extra=_one_number_box,
    )
    allow_nan: bool = Field(
        default=False,
        title="Allow missing values",
        description="Whether a value may be missing (NaN or null).",
        examples=[False],
    )
    neutral_value: Number | None = Field(
        default=None,
        title="Neutral value",
        description=(
            "Value to publish where a value is missing (NaN or null); empty: it stays missing."
        ),
        examples=[0.0],
        json_schema_extra=_one_number_box,
    )
    index_columns: Columns = Field(
        default_factory=lambda: ["date", "symbol"],
        title="Index columns",
        description="Columns that together identify a value; no combination occurs twice.",
        examples=[["date", "symbol"]],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check that bounds are in order and that the neutral value lies within them."""
        low, high, neutral = (
            _number(values.get(key)) for key in ("min_value", "max_value", "neutral_value")
        )
        if low is not None and high is not None and low > high:
            yield Fault(("max_value",), f"must be at least min_value ({low:g})")
            return
        if neutral is not None and low is not None and neutral < low:
            yield Fault(("neutral_value",), f"must be at least min_value ({low:g})")
        if neutral is not None and high is not None and neutral > high:
            yield Fault(("neutral_value",), f"must be at most max_value ({high:g})")


def _number(value: Any) -> float | None:
    """Return the value as pydantic will read it; None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
