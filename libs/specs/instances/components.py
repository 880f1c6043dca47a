"""Spec of an instance's component: a definition with its configuration, or a shared component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from prefect_instances.libs.specs.reading.base import Reading, SpecModel
from prefect_instances.libs.specs.reading.json_values import Config
from prefect_instances.libs.specs.reading.names import OptionalLocal, OptionalWord
from prefect_instances.libs.specs.reading.problems import Fault


class ComponentSpec(SpecModel):
    """A definition with version and configuration, or the name of a component to share."""

    model_config = ConfigDict(title="Component")
    ALIASES: ClassVar[Mapping[str, str]] = {
        "definition_resource_id": "definition",
        "definition_version_id": "version",
        "config_json": "config",
        "instance_id": "instance",
    }
    SHORTHAND: ClassVar[str] = "definition"

    definition: OptionalWord = Field(
        default="",
        title="Definition",
        description="Name or id of an installed definition; `instances definitions` lists them.",
        examples=["market_data", "expression"],
    )
    version: OptionalWord = Field(
        default="",
        title="Version",
        description="Version of the definition; empty: the newest.",
        examples=["1.0.0"],
    )
    config: Config = Field(
        default_factory=dict,
        title="Configuration",
        description="Parameters of the definition.",
        examples=[{"symbols": ["AAPL", "MSFT"], "start_date": "2015-01-01"}],
    )
    instance: OptionalLocal = Field(
        default="",
        title="Shared component",
        description=(
            "An existing component to share, instead of a definition: its name or id, or "
            "instance.role for the component of another instance."
        ),
        examples=["shared_store", "sp500_prices.store"],
    )

    @classmethod
    def default_definition(cls) -> str:
        """Return the definition if none is named; empty if one must be named."""
        return str(cls.model_fields["definition"].default)

    @classmethod
    def read(cls, document: Mapping[Any, Any]) -> Reading:
        """Read as the base class does; a shared component gets no default definition."""
        reading = super().read(document)
        values = reading.values
        if not values.get("definition"):
            values.pop("definition", None)
        if values.get("instance") and values.get("definition") in (None, cls.default_definition()):
            values["definition"] = ""
        return reading

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check for either definition or instance; only a definition has version and config."""
        if not values.get("instance"):
            if not values.get("definition") and not cls.default_definition():
                yield Fault(
                    ("definition",), "is missing: name a definition, or a component to share"
                )
            return
        for key in ("definition", "version", "config"):
            if values.get(key):
                yield Fault((key,), "cannot be given together with a shared component (`instance`)")

    def document(self) -> dict[str, Any]:
        """Return the document as the base class does, without an empty definition if shared."""
        result = super().document()
        if self.instance:
            result.pop("definition", None)
        return result


class StoreSpec(ComponentSpec):
    """The store of the data versions; Delta Lake by default."""

    model_config = ConfigDict(title="Store")

    definition: OptionalWord = Field(
        default="delta",
        title="Definition",
        description="Name or id of a store definition.",
        examples=["delta", "parquet", "sql_table"],
    )


class ExecutorSpec(ComponentSpec):
    """The executor of a divisible computation; by default the process of the run."""

    model_config = ConfigDict(title="Executor")

    definition: OptionalWord = Field(
        default="local",
        title="Definition",
        description="Name or id of an executor definition.",
        examples=["local", "dask"],
    )


class AccessorSpec(ComponentSpec):
    """The accessor that readers see the data through; by default unchanged."""

    model_config = ConfigDict(title="Accessor")

    definition: OptionalWord = Field(
        default="simple",
        title="Definition",
        description="Name or id of an accessor definition.",
        examples=["simple", "latest", "snapshot", "point_in_time"],
    )
