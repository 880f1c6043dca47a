"""Backtests: no definition; prices can be derived from the lineage of the primary signal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.db.repositories.resources import find_instance
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    Pending,
    TypeDescription,
)
from prefect_instances.libs.services.composition.references import find_sources, label_reference
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
    if primary not in pending and find_instance(session, primary) is None:
        return []  # That the signal does not exist is the only fault to report.
    sources = sorted(find_sources(session, pending, primary))
    if len(sources) == 1:
        return [("assets.prices", UpstreamRef(resource=sources[0], role="prices"))]
    found = f"it reads {', '.join(sources)}" if sources else "it reads none"
    text = f"name the dataset with the prices; it is not clear from the primary signal: {found}"
    raise InvalidSpec([Problem("assets.prices", text)])


def _check(composition: Composition) -> Iterable[Problem]:
    spec = composition.spec
    assert isinstance(spec, BacktestSpec)
    for shape in composition.shapes:
        if shape.role == "optimizer" and shape.type not in ("", WEIGHTS):
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


BACKTEST = TypeDescription(InstanceType.BACKTEST, check=_check, columns=_columns, implied=_implied)
