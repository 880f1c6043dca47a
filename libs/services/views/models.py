"""Fitted models behind their aliases."""

from __future__ import annotations

from typing import Any

from prefect_instances.libs.adapters.mlflow import CHALLENGER, CHAMPION
from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.db.models import ModelInstance
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.services.composition.model_stores import tracking
from prefect_instances.libs.services.state.context import Services


def load_model(services: Services, name: str, alias: str = CHAMPION) -> Any:
    """Load the fitted object of a model's version, by the alias that points at it.

    Raises NotFound for an unknown name, and for an alias that points at no version; PermanentError
    for an instance that is no model.
    """
    with services.database.read() as session:
        named = get_instance(session, name)
        if named.type != InstanceType.MODEL:
            raise PermanentError(f"{named.label} is a {named.type}, not a ModelInstance")
        registered = session.get_one(ModelInstance, named.id).mlflow_registered_model_name
    if registered is None:
        raise NotFound("model", alias, owner=f"{named.label}: no training has published one yet")
    store = tracking(services)
    version = store.find_version_by_alias(registered, alias)
    if version is None:
        known = [
            word for word in (CHAMPION, CHALLENGER) if store.find_version_by_alias(registered, word)
        ]
        listed = ", ".join(known) or "none"
        raise NotFound("alias", alias, owner=f"{named.label}, which has {listed}")
    return store.load(registered, version).model
