"""Check the place of a new instance's data before anything is written."""

from __future__ import annotations

from prefect_instances.libs.core.errors import (
    DefinitionUnavailable,
    InvalidSpec,
    NotFound,
    Problem,
    Unavailable,
)
from prefect_instances.libs.core.places import Place, RemotePlace
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.definitions.store import LocationRefused, Store
from prefect_instances.libs.specs import InstanceSpec


def check_store(registry: Registry, home: Place, spec: InstanceSpec) -> None:
    """Ask the object store that will hold the data of ``spec`` whether it can be used.

    ``home`` is the place of the home's stores. Directories and shared stores are not asked. Raises
    InvalidSpec if the bucket is missing, another region's, not permitted, or does not answer.
    """
    try:
        store = _store_of(registry, spec)
    except (InvalidSpec, DefinitionUnavailable, NotFound):
        return  # The checks of the whole configuration report it, beside other problems.
    place = store.place(home)
    if not isinstance(place, RemotePlace):
        return
    try:
        store.open_at(place).check()
    except (Unavailable, NotFound, LocationRefused) as error:
        raise InvalidSpec([Problem("store.config", str(error))]) from error


def _store_of(registry: Registry, spec: InstanceSpec) -> Store:
    """Return the store of a spec; that of outputs if it has none of its own."""
    written = getattr(spec, "store", None)
    if written is None or written.instance:
        made = registry.get(DefinitionKind.STORE, "delta")({})
    else:
        definition = registry.get(DefinitionKind.STORE, written.definition, written.version)
        made = definition(written.config, registry)
    assert isinstance(made, Store)
    return made
