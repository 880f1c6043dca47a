"""Instantiate an instance's components, and open its stored versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.places import Place
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import (
    AccessorInstance,
    DatasetVersion,
    FlowExecutionResource,
    Resource,
    StoreInstance,
)
from prefect_instances.libs.db.repositories.resources import EXTENSIONS, flows_of
from prefect_instances.libs.db.repositories.versions import select_location
from prefect_instances.libs.definitions.accessor import Accessor, Query
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.schemas import Schema
from prefect_instances.libs.definitions.store import Store, StoreHandle, VersionLost
from prefect_instances.libs.services.composition.catalog import add_saved_macros, prefer_pinned
from prefect_instances.libs.services.composition.checks import find_definition_class
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import (
    ComponentSpec,
)

if TYPE_CHECKING:
    import polars as pl


OUTPUTS = "outputs"
"""Folder below the store root for the outputs of all flows but refreshes."""


@dataclass(frozen=True)
class Storage:
    """Where the versions of a dataset or signal are, and the accessor that reads them.

    ``needs`` are the columns that store and accessor need, by a name for each in messages.
    """

    store: StoreHandle
    accessor: Accessor
    needs: Mapping[str, Schema]


@dataclass(frozen=True)
class VersionReader:
    """A stored version and the accessor that reads it; no data are read before ``read``."""

    accessor: Accessor
    store: StoreHandle
    location: str

    def read(self, query: Query) -> pl.LazyFrame:
        """Return the rows that the accessor shows for a query."""
        return self.accessor.read(self.store.scan(self.location), query)

    def as_known(self, dates: pl.Series | None = None) -> pl.LazyFrame:
        """Return the rows as a run reads them; see ``Accessor.as_known``."""
        return self.accessor.as_known(self.store.scan(self.location), dates)


def open_storage(services: Services, session: Session, instance_id: UUID) -> Storage:
    """Open the store and the accessor of a dataset or signal; its pipeline is not needed.

    Raises NotFound if the instance is gone, DefinitionUnavailable if a pinned version is not
    installed, InvalidSpec if a configuration is no longer valid.
    """
    resource = session.get(Resource, instance_id)
    extension = session.get(EXTENSIONS[resource.type], instance_id) if resource else None
    if extension is None:
        raise NotFound("instance", str(instance_id))
    store = session.get_one(StoreInstance, extension.store_instance_id)
    accessor = session.get_one(AccessorInstance, extension.accessor_instance_id)
    return bind_storage(
        services,
        instance_id,
        store.resource_id,
        cast(Store, instantiate_component(services, session, store)),
        cast(Accessor, instantiate_component(services, session, accessor)),
    )


def bind_storage(
    services: Services, instance_id: UUID, store_id: UUID, store: Store, accessor: Accessor
) -> Storage:
    """Open a configured store at the place where it keeps the versions of an instance.

    ``store_id`` is the resource id of the store instance, which several datasets may share.
    """
    root = store.place(services.settings.store_place) / str(store_id) / str(instance_id)
    needs = {
        f"store {store.name!r}": store.input_schema or {},
        f"accessor {accessor.name!r}": accessor.input_schema or {},
    }
    return Storage(store.open_at(root), accessor, needs)


def instantiate_component(
    services: Services, session: Session, row: Any, component: ComponentSpec | None = None
) -> Definition:
    """Instantiate a component from its row, or with the configuration of an earlier ``component``.

    A shared component always has today's configuration. Raises DefinitionUnavailable, and
    InvalidSpec if the configuration is no longer valid.
    """
    registry = prefer_pinned(session, services.registry, row.resource_id)
    if component is not None:
        registry = add_saved_macros(session, registry)
    definition = find_definition_class(session, registry, row)
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
    return store.open_at(_output_root(services, instance_id) / kind)


def _output_root(services: Services, instance_id: UUID) -> Place:
    return services.settings.store_place / OUTPUTS / str(instance_id)


def read_version(services: Services, version_id: UUID, query: Query = Query()) -> pl.LazyFrame:  # noqa: B008  # frozen
    """Return the rows of a published version as its instance's accessor shows them."""
    with services.database.read() as session:
        version = session.get_one(DatasetVersion, version_id)
        return open_version(services, session, version).read(query)


def open_version(
    services: Services, session: Session, version: DatasetVersion, storage: Storage | None = None
) -> VersionReader:
    """Open a published version for reading; ``storage`` is its instance's, None: not opened yet.

    An accessor may show another generation than the one given. Raises NotFound if that generation
    was never published, and whatever ``open_storage`` raises.
    """
    flow = session.get_one(FlowExecutionResource, version.flow_id)
    if flow.kind != FlowKind.REFRESH:
        accessor = services.registry.get(DefinitionKind.ACCESSOR, "simple")({})
        assert isinstance(accessor, Accessor)
        return VersionReader(
            accessor, open_output(services, flow.instance_id, flow.kind), version.location
        )
    found = storage or open_storage(services, session, flow.instance_id)
    shown = found.accessor.generation(version.generation)
    location: str | None = version.location
    if shown != version.generation:
        location = select_location(session, flow.id, shown)
    if location is None:
        raise NotFound("version", str(shown))
    return VersionReader(found.accessor, found.store, location)


def find_loss(
    services: Services, session: Session, version: DatasetVersion, storage: Storage | None = None
) -> str:
    """Return why a published version of rows cannot be read; empty if its files are there.

    The accessor is not asked: it may show another version, or none yet.
    """
    flow = session.get_one(FlowExecutionResource, version.flow_id)
    try:
        if flow.kind != FlowKind.REFRESH:
            store = open_output(services, flow.instance_id, flow.kind)
        else:
            store = (storage or open_storage(services, session, flow.instance_id)).store
        store.scan(version.location)
    except VersionLost as lost:
        return str(lost)
    return ""


def purge_data(services: Services, instance_id: UUID) -> None:
    """Delete every stored version of an instance."""
    with services.database.read() as session:
        kinds = {flow.kind for flow in flows_of(session, instance_id)}
        stored = FlowKind.REFRESH in kinds
        storage = open_storage(services, session, instance_id) if stored else None
    if storage is not None:
        storage.store.purge()
    for kind in kinds - {FlowKind.REFRESH}:
        open_output(services, instance_id, kind).purge()
    root = _output_root(services, instance_id)
    if isinstance(root, Path) and root.is_dir():
        root.rmdir()
