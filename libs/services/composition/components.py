"""Instantiate an instance's components, and open its stored versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import (
    AccessorInstance,
    DatasetVersion,
    FlowExecutionResource,
    PipelineInstance,
    Resource,
    StoreInstance,
)
from prefect_instances.libs.db.repositories.resources import EXTENSIONS, flows_of
from prefect_instances.libs.db.repositories.versions import select_location
from prefect_instances.libs.definitions.accessor import Accessor, Query
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.pipeline import Pipeline
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.definitions.schemas import Schema
from prefect_instances.libs.definitions.store import Store, StoreHandle
from prefect_instances.libs.services.composition.catalog import kept_by, with_saved
from prefect_instances.libs.services.composition.checks import definition_of
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import (
    ComponentSpec,
    DatasetSpec,
    ScheduleSpec,
    SignalContract,
    SignalSpec,
)

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Kept:
    """The store of a dataset or signal, and the accessor that reads it.

    ``needs`` are the columns that store and accessor need, by a name for each in messages.
    """

    store: StoreHandle
    accessor: Accessor
    needs: Mapping[str, Schema]


@dataclass(frozen=True)
class Data(Kept):
    """The components of a dataset or signal, instantiated; ``signal`` is None for a dataset."""

    name: str
    type: str
    pipeline: Pipeline
    schedule: ScheduleSpec
    signal: SignalContract | None


def open_data(services: Services, instance_id: UUID, spec: DatasetSpec | None = None) -> Data:
    """Instantiate the components of a dataset or signal, or those of an earlier ``spec``.

    Raises NotFound if the instance is gone, DefinitionUnavailable if a pinned version is not
    installed, InvalidSpec if a configuration is no longer valid.
    """
    with services.database.read() as session:
        resource, extension = _rows(session, instance_id)
        pipeline = session.get_one(PipelineInstance, extension.pipeline_instance_id)
        kept = _kept(services, session, extension)
        signal, component = getattr(extension, "signal_json", None), spec.pipeline if spec else None
        if isinstance(spec, SignalSpec):
            signal = spec.signal.document()
        return Data(
            name=resource.name,
            type=resource.type,
            pipeline=cast(Pipeline, made(services, session, pipeline, component)),
            store=kept.store,
            accessor=kept.accessor,
            needs=kept.needs,
            schedule=ScheduleSpec.model_validate(extension.schedule_json),
            signal=SignalContract.model_validate(signal) if signal is not None else None,
        )


def open_kept(services: Services, instance_id: UUID) -> Kept:
    """Open store and accessor of a dataset or signal; its pipeline is not needed.

    Raises as ``open_data``.
    """
    with services.database.read() as session:
        return _kept(services, session, _rows(session, instance_id)[1])


def _kept(services: Services, session: Session, extension: Any) -> Kept:
    store = session.get_one(StoreInstance, extension.store_instance_id)
    accessor = session.get_one(AccessorInstance, extension.accessor_instance_id)
    root = services.settings.store_root / str(store.resource_id) / str(extension.resource_id)
    keeper = cast(Store, made(services, session, store))
    reader = cast(Accessor, made(services, session, accessor))
    needs = {
        f"store {keeper.name!r}": keeper.input_schema or {},
        f"accessor {reader.name!r}": reader.input_schema or {},
    }
    return Kept(keeper.open(root), reader, needs)


def _rows(session: Session, instance_id: UUID) -> tuple[Resource, Any]:
    resource = session.get(Resource, instance_id)
    extension = session.get(EXTENSIONS[resource.type], instance_id) if resource else None
    if resource is None or extension is None:
        raise NotFound("instance", str(instance_id))
    return resource, extension


def made(
    services: Services, session: Session, row: Any, component: ComponentSpec | None = None
) -> Definition:
    """Instantiate a component from its row, or with the configuration of an earlier ``component``.

    A shared component always has today's configuration. Raises DefinitionUnavailable, and
    InvalidSpec if the configuration is no longer valid.
    """
    registry = kept_by(session, services.registry, row.resource_id)
    if component is not None:
        registry = with_saved(session, registry)
    definition = definition_of(session, registry, row)
    if component is None or component.instance:
        return definition(row.config_json, registry)
    named, version = component.definition, component.version or definition.version
    if (named, version) != (definition.name, definition.version):
        definition = registry.get(definition.kind, named, component.version)
    return definition(component.config, registry)


def open_output(services: Services, instance_id: UUID, kind: str) -> StoreHandle:
    """Open the store of a flow's output; not for the refresh of a dataset or signal."""
    store = services.registry.get(DefinitionKind.STORE, "delta")({})
    assert isinstance(store, Store)
    return store.open(_output_root(services, instance_id) / kind)


def _output_root(services: Services, instance_id: UUID) -> Path:
    return services.settings.store_root / "outputs" / str(instance_id)


def read_version(services: Services, version_id: UUID, query: Query = Query()) -> pl.LazyFrame:  # noqa: B008  # frozen
    """Read the rows of a published version through the accessor of its instance."""
    accessor, frame = _opened(services, version_id)
    return accessor.read(frame, query)


def read_as_known(
    services: Services, version_id: UUID, dates: pl.Series | None = None
) -> pl.LazyFrame:
    """Read the rows of a published version as runs read them; see ``Accessor.as_known``."""
    accessor, frame = _opened(services, version_id)
    return accessor.as_known(frame, dates)


def _opened(services: Services, version_id: UUID) -> tuple[Accessor, pl.LazyFrame]:
    """Open the accessor of a version and the stored rows that it may show."""
    with services.database.read() as session:
        version = session.get_one(DatasetVersion, version_id)
        flow = session.get_one(FlowExecutionResource, version.flow_id)
        instance_id, location, kind = flow.instance_id, version.location, flow.kind
        pinned, flow_id = version.generation, flow.id
    if kind == FlowKind.REFRESH:
        data = open_kept(services, instance_id)
        seen = data.accessor.generation(pinned)
        if seen != pinned:
            location = _location(services, flow_id, seen)
        return data.accessor, data.store.scan(location)
    accessor = services.registry.get(DefinitionKind.ACCESSOR, "simple")({})
    assert isinstance(accessor, Accessor)
    return accessor, open_output(services, instance_id, kind).scan(location)


def _location(services: Services, flow_id: UUID, generation: int) -> str:
    """Return the location of a generation; raise NotFound if it was never published."""
    with services.database.read() as session:
        location = select_location(session, flow_id, generation)
    if location is None:
        raise NotFound("version", str(generation))
    return location


def keeping(services: Services, instance_id: UUID) -> Registry:
    """Return the registry with the definition versions that are pinned for the instance itself."""
    with services.database.read() as session:
        return kept_by(session, services.registry, instance_id)


def purge_data(services: Services, instance_id: UUID) -> None:
    """Delete every stored version of an instance."""
    with services.database.read() as session:
        kinds = {flow.kind for flow in flows_of(session, instance_id)}
    if FlowKind.REFRESH in kinds:
        open_kept(services, instance_id).store.purge()
    for kind in kinds - {FlowKind.REFRESH}:
        open_output(services, instance_id, kind).purge()
    root = _output_root(services, instance_id)
    if root.is_dir():
        root.rmdir()


def open_definition(
    services: Services,
    instance_id: UUID,
    kind: DefinitionKind,
    component: ComponentSpec | None = None,
) -> Definition:
    """Instantiate the definition of an instance that has one itself, or an earlier ``component``.

    Raises NotFound if the instance is gone or has no such definition, DefinitionUnavailable if the
    pinned version is not installed, InvalidSpec if the configuration is no longer valid.
    """
    with services.database.read() as session:
        resource = session.get(Resource, instance_id)
        extension = session.get(EXTENSIONS[resource.type], instance_id) if resource else None
        if extension is None or extension.definition_version_id is None:
            raise NotFound(kind.value, str(instance_id))
        return made(services, session, extension, component)
