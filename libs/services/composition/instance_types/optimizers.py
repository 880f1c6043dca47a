"""Portfolio optimizers: one definition, its constraints and its upstreams."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.optimizer import (
    Constraints,
    PortfolioOptimizer,
    list_infeasible,
)
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    Pending,
    Role,
    TypeDescription,
    list_unknown_symbols,
)
from prefect_instances.libs.services.composition.references import find_sources, label_reference
from prefect_instances.libs.specs import InstanceSpec, OptimizerSpec, UpstreamRef
from prefect_instances.libs.specs.instances.optimizers import ConstraintsSpec

SIGNAL_ROLES = ("signal", "input")
"""Roles of the upstreams that expected returns come from."""

ROLES = (*SIGNAL_ROLES, "prices", "covariance")


def convert_constraints(spec: ConstraintsSpec) -> Constraints:
    """Convert the constraints of a spec to the form that definitions receive."""
    return Constraints(
        min_weight=spec.min_weight,
        max_weight=spec.max_weight,
        sectors={limit.sector: tuple(limit.symbols) for limit in spec.sector_limits},
        sector_limits={
            limit.sector: (limit.min_weight, limit.max_weight) for limit in spec.sector_limits
        },
        gross_leverage=spec.gross_leverage,
        max_turnover=spec.max_turnover,
    )


def _implied(
    session: Session, spec: InstanceSpec, pending: Pending
) -> list[tuple[str, UpstreamRef]]:
    """Return the prices if the spec names none: the only source of all its signals."""
    named = spec.references()
    if any(ref.role == "prices" for _, ref in named):
        return []
    signals = {
        label_reference(session, ref.resource, spec.project)
        for _, ref in named
        if ref.role in SIGNAL_ROLES
    }
    sources = {found for one in signals for found in find_sources(session, pending, one)}
    if len(sources) != 1:
        return []
    return [("upstream_refs", UpstreamRef(resource=sources.pop(), role="prices"))]


def _check(composition: Composition) -> Iterable[Problem]:
    spec, component = composition.spec, composition.components["optimizer"]
    assert isinstance(spec, OptimizerSpec)
    optimizer = component.configured(composition.registry)
    assert isinstance(optimizer, PortfolioOptimizer)
    yield from optimizer.compatibility_rules.problems(composition.shapes)
    constraints = convert_constraints(spec.constraints)
    refused = optimizer.check(constraints)
    yield from refused
    limited = [
        (f"constraints.sector_limits[{at}].symbols[{place}]", symbol)
        for at, limit in enumerate(spec.constraints.sector_limits)
        for place, symbol in enumerate(limit.symbols)
    ]
    yield from list_unknown_symbols(composition, limited)
    priced = [shape for shape in composition.shapes if shape.role == "prices"]
    if len(priced) == 1 and priced[0].symbols and not refused:
        yield from list_infeasible(constraints, priced[0].symbols)
    roles = [shape.role for shape in composition.shapes]
    yield from _role_problems(spec, roles)
    if optimizer.needs_signal and not any(role in SIGNAL_ROLES for role in roles):
        text = f"{optimizer.name} needs a signal: add an upstream with the role signal"
        yield Problem("upstream_refs", text)


def _role_problems(spec: OptimizerSpec, roles: list[str]) -> Iterable[Problem]:
    for at, role in enumerate(roles):
        if role not in ROLES:
            yield Problem(f"upstream_refs[{at}].role", f"must be one of {', '.join(ROLES)}")
    if roles.count("prices") != 1:
        text = f"needs one upstream with the role prices, has {roles.count('prices')}"
        yield Problem("upstream_refs", text)
    if (spec.covariance == "dataset") != ("covariance" in roles):
        text = "goes together with an upstream of the role covariance"
        yield Problem("covariance", f"dataset {text}")


OPTIMIZER = TypeDescription(
    InstanceType.OPTIMIZER,
    {"optimizer": Role(DefinitionKind.OPTIMIZER)},
    "optimizer",
    _check,
    implied=_implied,
)
