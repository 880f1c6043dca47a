"""An instance as one run uses it: loaded once, before the run is claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import (
    DefinitionUnavailable,
    InstancesError,
    InvalidSpec,
    NotFound,
)
from prefect_instances.libs.db.models import FlowExecutionResource, Resource, ResourceVersion
from prefect_instances.libs.db.repositories.flows import select_flow, select_upstream_datasets
from prefect_instances.libs.db.repositories.resources import (
    Named,
    find_instance,
    select_newest_version,
)
from prefect_instances.libs.definitions.accessor import Accessor
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.guardrails import Contract
from prefect_instances.libs.definitions.store import Store
from prefect_instances.libs.services.composition.catalog import prefer_pinned
from prefect_instances.libs.services.composition.components import (
    Storage,
    bind_storage,
    instantiate_component,
)
from prefect_instances.libs.services.composition.contracts import list_contracts, read_composition
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.composition.instance_types.experiments import (
    build_expression_pipeline,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import ExperimentSpec, InstanceSpec, parse_spec

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class OpenedInstance:
    """An instance, one of its flows, and everything that a run of the flow needs of both.

    ``config_version`` is the number of the configuration in ``spec``. ``components`` are the
    configured definitions by role; an experiment has its expression as ``pipeline``.
    ``contracts`` are the guardrail contracts of the flow. ``storage`` is where a dataset or signal
    keeps its versions, None for other types. ``upstreams`` are the storages of the datasets and
    signals that the flow reads, by instance id. ``fault`` is why these could not be loaded.
    """

    named: Named
    spec: InstanceSpec
    config_version: int
    flow: FlowExecutionResource
    components: Mapping[str, Definition] = field(default_factory=dict)
    contracts: Sequence[Contract] = ()
    storage: Storage | None = None
    upstreams: Mapping[UUID, Storage] = field(default_factory=dict)
    fault: InstancesError | None = None

    @property
    def executor(self) -> Executor | None:
        """What runs the parts of a divisible computation; None for types without one."""
        return cast(Executor | None, self.components.get("executor"))

    @property
    def main(self) -> Definition:
        """The definition that the instance's type is about: its pipeline, module or optimizer."""
        return self.components[TYPE_DESCRIPTIONS[self.named.type].main]


def open_instance(
    services: Services, instance_id: UUID, kind: str, then: InstanceSpec | None = None
) -> OpenedInstance:
    """Load an instance for a run of its flow of ``kind``, in one read of the database.

    ``then`` is an earlier configuration, for a run that is replayed; None means the newest. What
    cannot be loaded is told in ``fault``. Raises NotFound where the instance is gone.
    """
    with services.database.read() as session:
        named = find_instance(session, str(instance_id))
        flow = select_flow(session, instance_id, kind)
        version = select_newest_version(session, instance_id)
        if named is None or flow is None or version is None:
            raise NotFound("instance", str(instance_id))
        spec = then or parse_spec(version.spec_json)
        opened = OpenedInstance(named, spec, version.number, flow)
        try:
            return _load(services, session, opened, replayed=then is not None)
        except InstancesError as fault:
            return replace(opened, fault=fault)


def _load(
    services: Services, session: Session, opened: OpenedInstance, *, replayed: bool
) -> OpenedInstance:
    spec, id_ = opened.spec, opened.named.id
    rows = read_composition(session, spec.type, id_)
    earlier = {TYPE_DESCRIPTIONS[spec.type].main} if replayed else set()
    components = {
        role: _instantiate(services, session, row, spec if role in earlier else None, role)
        for role, row in rows.items()
    }
    upstreams = {
        upstream: _open_upstream(services, session, type_, upstream)
        for type_, upstream in select_upstream_datasets(session, opened.flow.id)
    }
    storage = None
    if "store" in components:
        storage = _bind(services, id_, rows["store"].resource_id, components)
    whole = ("the instance", spec.name, "")
    if isinstance(spec, ExperimentSpec):
        pipeline = _use(whole, lambda: _expression(services, session, id_, spec))
        components = {**components, "pipeline": pipeline}
    definitions = {role: type(components[role]) for role in rows}
    contracts = _use(
        whole, lambda: list_contracts(services.registry, definitions, spec, opened.flow.kind)
    )
    return replace(
        opened,
        components=components,
        contracts=contracts,
        storage=storage,
        upstreams=upstreams,
    )


def _expression(
    services: Services, session: Session, instance_id: UUID, spec: ExperimentSpec
) -> Definition:
    pipeline = build_expression_pipeline(
        prefer_pinned(session, services.registry, instance_id), spec
    )
    _ = list(pipeline.calls())
    return pipeline


def _open_upstream(services: Services, session: Session, type_: str, instance_id: UUID) -> Storage:
    """Open what an upstream's versions are read by; its pipeline is not needed."""
    rows = read_composition(session, type_, instance_id)
    readers = {
        role: _instantiate(services, session, rows[role], None, role)
        for role in ("store", "accessor")
    }
    return _bind(services, instance_id, rows["store"].resource_id, readers)


def _bind(
    services: Services, instance_id: UUID, store_id: UUID, components: Mapping[str, Definition]
) -> Storage:
    store, accessor = cast(Store, components["store"]), cast(Accessor, components["accessor"])
    return bind_storage(services, instance_id, store_id, store, accessor)


def _instantiate(
    services: Services, session: Session, row: Any, then: InstanceSpec | None, role: str
) -> Definition:
    """Configure a component, and look up everything that it calls."""
    definition = session.get_one(Resource, row.definition_resource_id)
    version = session.get_one(ResourceVersion, row.definition_version_id)
    component = then.components()[role] if then else None

    def use() -> Definition:
        instance = instantiate_component(services, session, row, component)
        _ = list(instance.calls())
        return instance

    return _use((definition.type, definition.name, version.label), use)


def _use(label: tuple[str, str, str], use: Callable[[], Value]) -> Value:
    """Call ``use``; whatever a definition does wrong becomes DefinitionUnavailable.

    ``label`` is its kind, name and version. Errors of other systems are no fault of it.
    """
    try:
        return use()
    except InvalidSpec as error:
        advice = "correct the configuration and apply it, or pin a version that accepts it"
        detail = f"it does not accept the configuration: {error}; {advice}"
        raise DefinitionUnavailable(*label, detail) from error
    except InstancesError:
        raise
    except Exception as error:  # a plugin may raise anything
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DefinitionUnavailable(*label, f"{text}; repair it, or pin another version") from error
