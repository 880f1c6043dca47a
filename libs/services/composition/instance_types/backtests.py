"""Backtests: no definition; prices can be derived from the lineage of the primary signal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.db.repositories.flows import select_upstream_ids
from prefect_instances.libs.db.repositories.resources import Named, find_instance
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    Kit,
    Pending,
)
from prefect_instances.libs.services.composition.references import label_reference
from prefect_instances.libs.specs import BacktestSpec, InstanceSpec, UpstreamRef

WEIGHTS = InstanceType.OPTIMIZER


def _implied(
    session: Session, spec: InstanceSpec, pending: Pending
) -> list[tuple[str, UpstreamRef]]:
    """Return the prices if the spec names none: the only source of the primary signal."""
    assert isinstance(spec, BacktestSpec)
    if any(ref.role == "prices" for _, ref in spec.references()):
        return []
    primary = label_reference(session, spec.signals.primary.resource, spec.project)
    sources = sorted(_sources(session, pending, primary))
    if len(sources) == 1:
        return [("assets.prices", UpstreamRef(resource=sources[0], role="prices"))]
    found = f"it reads {', '.join(sources)}" if sources else "it reads none"
    text = f"name the dataset with the prices; it is not clear from the primary signal: {found}"
    raise InvalidSpec([Problem("assets.prices", text)])


def _sources(session: Session, pending: Pending, label: str) -> set[str]:
    """Collect the labels of the datasets without upstreams from which an instance is computed."""
    reached, queue, sources = {label}, [label], set()
    while queue:
        current = queue.pop()
        ups = _upstreams(session, pending, current)
        if ups is not None and not ups and current != label:
            sources.add(current)
        for up in ups or ():
            if up not in reached:
                reached.add(up)
                queue.append(up)
    return sources


def _upstreams(session: Session, pending: Pending, label: str) -> set[str] | None:
    """Return the labels that an instance reads; None if it does not exist."""
    planned = pending.get(label)
    if planned is not None:
        return {
            label_reference(session, ref.resource, planned.project)
            for _, ref in planned.references()
        }
    named = find_instance(session, label)
    return None if named is None else {up.label.lower() for up in _read_by(session, named.id)}


def _read_by(session: Session, instance_id: UUID) -> list[Named]:
    found = (find_instance(session, str(id_)) for id_ in select_upstream_ids(session, instance_id))
    return [named for named in found if named is not None]


def _check(composition: Composition) -> Iterable[Problem]:
    spec = composition.spec
    assert isinstance(spec, BacktestSpec)
    for shape in composition.shapes:
        if shape.role == "optimizer" and shape.type != WEIGHTS:
            text = f"{shape.resource!r} is a {shape.type}, not a {WEIGHTS.value}"
            yield Problem("signals.optimizer", text)
        columns = shape.columns
        if shape.role == "prices" and columns and spec.assets.price_column not in columns:
            text = f"{shape.resource!r} has no column {spec.assets.price_column!r}"
            yield Problem("assets.price_column", text)


def _columns(composition: Composition) -> dict[str, Any]:
    spec = composition.spec
    assert isinstance(spec, BacktestSpec)
    return {
        "assets_json": spec.assets.document(),
        "signals_json": spec.signals.document(),
        "date_range_json": spec.date_range.document(),
        "config_json": spec.config.document(),
    }


BACKTEST = Kit(InstanceType.BACKTEST, check=_check, columns=_columns, implied=_implied)
