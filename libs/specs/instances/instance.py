"""The fields that all instance types share, and the specs of datasets and signals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.specs.instances.components import (
    AccessorSpec,
    ComponentSpec,
    ExecutorSpec,
    StoreSpec,
)
from prefect_instances.libs.specs.instances.guardrails import GuardrailSpec
from prefect_instances.libs.specs.instances.references import UpstreamRef
from prefect_instances.libs.specs.instances.signals import SignalContract
from prefect_instances.libs.specs.reading.base import Reading, SpecModel
from prefect_instances.libs.specs.reading.json_values import Config, Text
from prefect_instances.libs.specs.reading.names import Name, OptionalReference, full_name
from prefect_instances.libs.specs.reading.problems import Fault, Loc, kind_of
from prefect_instances.libs.specs.timing.schedules import ScheduleSpec

WRAPPER = "metadata_json"
"""The key below which a document may hold everything except type and name."""


EXECUTOR = "executor"
"""The component that decides where parts are computed; it does not affect the output."""


LAST_FIELDS = (
    "upstream_refs",
    "schedule",
    "flow_schedules",
    "run_on_provision",
    "work_pool",
    "job_variables",
    "guardrail_contracts",
    "type",
)
"""Common fields that a form shows after the fields of the type."""


class InstanceFields(SpecModel):
    """The fields that every instance has; a subclass adds those of its type."""

    ALIASES: ClassVar[Mapping[str, str]] = {"schedule_json": "schedule"}
    LIFTED: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Top-level keys that stand for a key of a component."""

    PARTS: ClassVar[tuple[str, ...]] = ()
    """Fields that hold a component: a definition with its configuration."""

    name: Name = Field(
        title="Instance name",
        description="Unique within the project, ignoring case; letters, digits, underscores.",
        examples=["sp500_prices"],
    )
    project: Name = Field(
        default="default",
        title="Project",
        description="Project of the instance; it is created with its first instance.",
        examples=["demo"],
    )
    description: Text = Field(
        default="",
        title="Description",
        description="Purpose of the instance, in one sentence.",
        examples=["Daily closes of the S&P 500 stocks"],
    )
    upstream_refs: list[UpstreamRef] = Field(
        default_factory=list,
        title="Upstreams",
        description="The instances that it reads.",
        examples=[[{"resource": "sp500_prices", "role": "input"}]],
    )
    schedule: ScheduleSpec = Field(
        default_factory=ScheduleSpec,
        title="Schedule",
        description="When the instance is due, and how failures are retried.",
        examples=[{"type": "cron", "expression": "0 6 * * 1-5", "timezone": "America/New_York"}],
    )
    flow_schedules: dict[Name, ScheduleSpec] = Field(
        default_factory=dict,
        title="Schedules of added flows",
        description=(
            "Schedules of the flows that its definition adds, by kind. Default: the schedule in "
            "the definition."
        ),
        examples=[{"quality": {"type": "cron", "expression": "0 8 * * 1"}}],
    )
    run_on_provision: bool = Field(
        default=True,
        title="Run when provisioned",
        description="Run once after provisioning, as soon as the upstreams are ready.",
        examples=[True],
    )
    work_pool: Text = Field(
        default="",
        title="Work pool",
        description="Work pool of its flows; empty: the default pool.",
        examples=["gpu"],
    )
    job_variables: Config = Field(
        default_factory=dict,
        title="Job variables",
        description="Values of the pool's template for its runs, such as an image or a memory "
        "limit; never secrets.",
        examples=[{"mem_limit": "4g"}],
    )
    guardrail_contracts: list[GuardrailSpec] = Field(
        default_factory=list,
        title="Guardrail contracts",
        description=(
            "Contracts that runs must satisfy. One replaces the definitions' contracts of the "
            "same kind at the same gate."
        ),
        examples=[[{"kind": "dataset.freshness", "config": {"max_age_days": 5}}]],
    )
    type: str = Field(
        default="",
        title="Type",
        description="Type of the instance. Do not change it.",
    )

    def references(self) -> list[tuple[str, UpstreamRef]]:
        """Return every upstream with its path in the document; a type may add others."""
        return [(f"upstream_refs[{at}]", ref) for at, ref in enumerate(self.upstream_refs)]

    def components(self) -> dict[str, ComponentSpec]:
        """Return the components by field name."""
        return {part: getattr(self, part) for part in self.PARTS}

    def schedule_of(self, kind: str, usual: Mapping[str, Any] | None = None) -> ScheduleSpec:
        """Return the schedule of one flow of the instance.

        If the spec has none, it is ``usual``, the schedule that the definition gives the flow; None
        if the definition gives none.
        """
        said = self.written_schedule(kind)
        return ScheduleSpec.model_validate(usual) if usual and said == ScheduleSpec() else said

    def written_schedule(self, kind: str) -> ScheduleSpec:
        """Return the schedule of a flow as the spec writes it."""
        own = kind in SHAPES[self.type].flows
        return self.schedule if own else self.flow_schedules.get(kind, ScheduleSpec())

    @classmethod
    def flow_schedule_path(cls, kind: str) -> str:
        """Return the path at which a document holds the schedule of an added flow."""
        return f"flow_schedules.{kind}"

    def output_content(self) -> dict[str, Any]:
        """Return everything that affects the output, for the fingerprint; types extend it."""
        content: dict[str, Any] = {
            part: component.model_dump(mode="json")
            for part, component in self.components().items()
            if part != EXECUTOR
        }
        content["upstreams"] = [
            [full_name(ref.resource, self.project), ref.role, ref.flow]
            for _, ref in self.references()
        ]
        return content

    def flow_content(self, kind: str) -> dict[str, Any]:
        """Return everything that affects one flow's output; override it if flows differ."""
        del kind
        return self.output_content()

    @classmethod
    def label(cls) -> str:
        """Return the name of the instance type, with an article, for messages."""
        return f"a {cls.instance_type().value}"

    @classmethod
    def instance_type(cls) -> InstanceType:
        """Return the type whose documents this model describes."""
        return InstanceType(cls.model_fields["type"].default)

    @classmethod
    def other_keys(cls) -> list[str]:
        """Return the base class's keys and those that stand for a key of a component."""
        return [*super().other_keys(), *cls.LIFTED, WRAPPER]

    @classmethod
    def misdirected(cls, document: Mapping[Any, Any]) -> Fault | None:
        """Return a fault if the document is of another type; None otherwise."""
        wrapped = document.get(WRAPPER)
        inner = wrapped.get("type") if isinstance(wrapped, Mapping) else None
        type_ = document.get("type", inner)
        own = cls.instance_type()
        if isinstance(type_, str) and type_ != own and type_ in frozenset(InstanceType):
            return Fault(("type",), f"says {str(type_)!r}, but a {own.value} is expected here")
        return None

    @classmethod
    def read_keys(cls, document: Mapping[Any, Any], reading: Reading, at: Loc) -> None:
        """Read the keys as the base class does.

        ``metadata_json`` may wrap them, and keys in ``LIFTED`` are moved to their component.
        """
        special = {key for key in document if key in cls.LIFTED or (key == WRAPPER and not at)}
        rest = {key: value for key, value in document.items() if key not in special}
        super().read_keys(rest, reading, at)
        wrapped = document.get(WRAPPER) if WRAPPER in special else None
        if isinstance(wrapped, Mapping):
            cls.read_keys(wrapped, reading, (WRAPPER,))
        elif wrapped is not None:
            message = f"must be a mapping of keys to values, not {kind_of(wrapped)}"
            reading.faults.append(Fault((WRAPPER,), message))
        for key in sorted(special - {WRAPPER}, key=list(cls.LIFTED).index):
            _lift(reading, cls.LIFTED[key], document[key], (*at, key))

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Report references to the instance itself, repeated ones, and a flow's second schedule."""
        given = values.get("flow_schedules")
        for kind in given if isinstance(given, Mapping) else ():
            if kind in SHAPES[cls.instance_type()].flows:
                message = f"is a flow of every {cls.instance_type()}: use schedule"
                yield Fault(("flow_schedules", str(kind)), message)
        project = _text(values.get("project")) or "default"
        own = full_name(_text(values.get("name")), project)
        seen: dict[tuple[str, str, str], int] = {}
        for index, reading in enumerate(read_references(values)):
            resource, role, flow = (_text(reading.values.get(key)) for key in _IDENTITY)
            if not resource:
                continue
            target = full_name(resource, project)
            if target == own:
                fault = reading.locate(Fault(("resource",), "refers to the instance itself"))
                yield Fault(("upstream_refs", index, *fault.loc), fault.message)
            first = seen.setdefault((target, role or "input", flow), index)
            if first != index:
                message = f"repeats upstream_refs[{first}]: same resource, role and flow"
                yield Fault(("upstream_refs", index), message)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Move the fields that all types share to the end of the schema, for forms."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for key in LAST_FIELDS:
            if key in properties:
                properties[key] = properties.pop(key)
        return schema


class DatasetSpec(InstanceFields):
    """Spec of a dataset: a pipeline extracts the data, a store keeps and an accessor reads them."""

    LIFTED: ClassVar[Mapping[str, tuple[str, str]]] = {
        "definition": ("pipeline", "definition"),
        "definition_resource_id": ("pipeline", "definition"),
        "version": ("pipeline", "version"),
        "definition_version_id": ("pipeline", "version"),
        "config": ("pipeline", "config"),
        "config_json": ("pipeline", "config"),
        "pipeline_instance_id": ("pipeline", "instance"),
        "store_instance_id": ("store", "instance"),
        "accessor_instance_id": ("accessor", "instance"),
        "executor_instance_id": (EXECUTOR, "instance"),
    }
    PARTS: ClassVar[tuple[str, ...]] = ("pipeline", "store", "accessor", EXECUTOR)

    pipeline: ComponentSpec = Field(
        title="Pipeline",
        description="Where the data comes from.",
        examples=[{"definition": "market_data", "config": {"source": "sp500"}}],
    )
    store: StoreSpec = Field(
        default_factory=StoreSpec,
        title="Store",
        description="Where the versions of the data are kept.",
        examples=[{"definition": "delta"}],
    )
    accessor: AccessorSpec = Field(
        default_factory=AccessorSpec,
        title="Accessor",
        description="How readers see the data.",
        examples=[{"definition": "simple"}],
    )
    executor: ExecutorSpec = Field(
        default_factory=ExecutorSpec,
        title="Executor",
        description="Where an expression is computed; it never changes the result.",
        examples=[{"definition": "local"}],
    )
    type: Literal["DatasetInstance"] = Field(
        default="DatasetInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["DatasetInstance"],
    )


class SignalSpec(DatasetSpec):
    """Spec of a signal: a dataset whose values satisfy a contract."""

    type: Literal["SignalInstance"] = Field(  # type: ignore[assignment]  # the tag names the class
        default="SignalInstance",
        title="Type",
        description="Type of the instance. Do not change it.",
        examples=["SignalInstance"],
    )
    signal: SignalContract = Field(
        default_factory=SignalContract,
        title="Signal contract",
        description="What every value must satisfy; otherwise the run fails.",
        examples=[{"min_value": -3.0, "max_value": 3.0}],
    )
    tear_sheet: bool = Field(
        default=False,
        title="Tear sheet",
        description="Show in each run how the signal relates to the returns that follow: "
        "coefficients, quantiles, turnover. An upstream needs a column close.",
        examples=[False],
    )
    promoted_from: OptionalReference = Field(
        default="",
        title="Promoted from",
        description="The dataset or experiment that became this signal; promotion writes it.",
        examples=["demo/sp500_returns"],
    )

    def output_content(self) -> dict[str, Any]:
        """Extend the base class by the contract."""
        return {**super().output_content(), "signal": self.signal.model_dump(mode="json")}


_NOTHING: tuple[object, ...] = (None, "", {})
"""Values that a form sends for an empty field."""


def _lift(reading: Reading, target: tuple[str, str], value: Any, written: Loc) -> None:
    """Move ``value`` to a component; a fault if the component holds a different value."""
    component, key = target
    if value is None:
        return
    document = _component_document(reading.values.get(component))
    if document is None:
        return  # the value is not a component; its own validation reports that
    inner = ComponentSpec.read(document)
    had = inner.values.get(key)
    place = reading.written.get((component, key), (component, *inner.written.get((key,), (key,))))
    known = Reading(values={} if had in _NOTHING else {key: had}, written={(key,): place})
    known.put(key, value, written)
    reading.faults += known.faults
    if not known.faults and had in _NOTHING:
        reading.values[component] = {**document, key: value}
        reading.written[(component, key)] = written


def _component_document(given: Any) -> dict[Any, Any] | None:
    if given is None:
        return {}
    if isinstance(given, ComponentSpec):
        return given.document()
    if isinstance(given, str):
        return {"definition": given}
    return dict(given) if isinstance(given, Mapping) else None


_IDENTITY = ("resource", "role", "flow")
"""The keys that identify an upstream; no two upstreams of an instance share all of them."""


def read_references(values: Mapping[str, Any]) -> list[Reading]:
    """Read each upstream under its short keys; an invalid upstream gives an empty reading."""
    given = values.get("upstream_refs")
    return [_reference(item) for item in given] if isinstance(given, list | tuple) else []


def _reference(item: Any) -> Reading:
    if isinstance(item, UpstreamRef):
        return UpstreamRef.read(item.document())
    if isinstance(item, str):
        return Reading(values={"resource": item})
    return UpstreamRef.read(item) if isinstance(item, Mapping) else Reading()


def _text(value: Any) -> str:
    return str(value).strip() if value is not None and not isinstance(value, Mapping | list) else ""
