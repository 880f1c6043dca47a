"""The description of one instance type, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.shapes import SHAPES, Shape
from prefect_instances.libs.core.status import FlowKind, InstanceType, Require
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.definitions.base import Definition, DefinitionKind, UpstreamShape
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import InstanceSpec, UpstreamRef

Pending = Mapping[str, InstanceSpec]
"""Specs by label (``project/name`` in lower case) that will exist when this one is provisioned."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role in a spec: the kind of definition, and the type of its component instance.

    ``component_type`` is empty if the instance itself has a column for the definition.
    """

    kind: DefinitionKind
    component_type: str = ""


EXECUTOR = Role(DefinitionKind.EXECUTOR, "ExecutorInstance")
"""The role of the executor in every type that has one."""


@dataclass(frozen=True, slots=True)
class Component:
    """A resolved component: the definition and its validated configuration.

    ``shared`` is the id of an existing component instance; None if the spec defines the component
    inline.
    """

    definition: type[Definition]
    config: Mapping[str, Any]
    shared: UUID | None = None

    def configured(self, registry: Registry) -> Definition:
        """Instantiate the definition; it finds what it calls in ``registry``."""
        return self.definition(self.config, registry)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolved reference to an upstream.

    ``instance_id`` and ``flow_id`` are None while the upstream is only planned. ``require`` and
    ``triggers`` are None if the reference does not give them.
    """

    label: str
    role: str
    flow_kind: str
    instance_id: UUID | None
    flow_id: UUID | None
    require: Require | None
    triggers: bool | None


@dataclass(frozen=True, slots=True)
class Composition:
    """The resolved parts of a spec, as the checks of an instance type receive them."""

    spec: InstanceSpec
    components: Mapping[str, Component]
    shapes: tuple[UpstreamShape, ...]
    registry: Registry


Calls = Callable[[Composition], Iterable[type[Definition]]]
"""Finds the definitions that an instance uses by name."""

Subject = Callable[[Composition], type[Definition] | None]
"""Finds the definition that an instance without components refers to; None if there is none."""


def _always(services: Services, named: Named, row: Mapping[str, Any]) -> bool:
    del services, named, row
    return True


@dataclass(frozen=True, slots=True)
class External:
    """An external resource: one step of the provisioning saga.

    ``create`` creates it, or finds the one of an earlier attempt, and returns the columns of the
    extension row that record it. ``remove`` deletes it, with ``purge`` its content too: it receives
    those columns, also finds a resource that was not recorded, and ignores one that is gone.
    ``present`` returns True if the recorded resource still exists.
    """

    name: str
    create: Callable[[Services, UUID, InstanceSpec], Mapping[str, Any]]
    remove: Callable[[Services, Named, Mapping[str, Any], bool], None]
    columns: tuple[str, ...] = ()
    present: Callable[[Services, Named, Mapping[str, Any]], bool] = _always


def _nothing(composition: Composition) -> Iterable[Problem]:
    del composition
    return ()


def _nothing_of(components: Mapping[str, Component], registry: Registry) -> Iterable[Problem]:
    del components, registry
    return ()


def _no_calls(composition: Composition) -> Iterable[type[Definition]]:
    del composition
    return ()


def _no_subject(composition: Composition) -> type[Definition] | None:
    del composition
    return None


def _no_columns(composition: Composition) -> dict[str, Any]:
    del composition
    return {}


def _no_references(
    session: Session, spec: InstanceSpec, pending: Pending
) -> list[tuple[str, UpstreamRef]]:
    del session, spec, pending
    return []


@dataclass(frozen=True)
class TypeDescription:
    """An instance type: how it is composed, checked, recorded and connected to other systems.

    ``main`` is the role of the main definition, which gives the aggregation contract and the
    definition columns (empty: none). ``fits`` finds components that do not fit together, ``check``
    the problems of the whole. ``columns`` returns the extension columns that only this type has.
    ``implied`` finds upstreams that the spec does not name. ``handles`` gives the extension column
    of each flow's deployment. ``calls`` finds the definitions that the instance itself uses by
    name, in addition to its components; ``subject`` is one of them that the definition columns
    refer to.
    """

    type: InstanceType
    roles: Mapping[str, Role] = field(default_factory=dict)
    main: str = ""
    check: Callable[[Composition], Iterable[Problem]] = _nothing
    columns: Callable[[Composition], dict[str, Any]] = _no_columns
    implied: Callable[[Session, InstanceSpec, Pending], list[tuple[str, UpstreamRef]]] = (
        _no_references
    )
    handles: Mapping[str, str] = field(default_factory=dict)
    externals: tuple[External, ...] = ()
    calls: Calls = _no_calls
    subject: Subject = _no_subject
    fits: Callable[[Mapping[str, Component], Registry], Iterable[Problem]] = _nothing_of

    @property
    def shape(self) -> Shape:
        """The flows of the type and the edges among them."""
        return SHAPES[self.type]

    def handle(self, kind: str) -> str:
        """Return the extension column of a flow's deployment.

        Empty for a flow that a definition adds.
        """
        if kind not in self.shape.flows:
            return ""
        return self.handles.get(kind, "prefect_deployment_id")

    def references(
        self, session: Session, spec: InstanceSpec, pending: Pending
    ) -> list[tuple[str, UpstreamRef]]:
        """Return every upstream with its path: first those of the spec, then the implied ones."""
        return [*spec.references(), *self.implied(session, spec, pending)]


def list_unknown_symbols(
    composition: Composition, named: Iterable[tuple[str, str]]
) -> Iterable[Problem]:
    """Yield a problem for each symbol, given with its path, that the prices cannot have.

    Nothing is yielded where only a run can show the symbols of the prices.
    """
    priced = [shape for shape in composition.shapes if shape.role == "prices"]
    if len(priced) != 1 or priced[0].symbols is None:
        return
    known = priced[0].symbols
    for path, symbol in named:
        if symbol not in known:
            text = f"{priced[0].resource!r} has no symbol {symbol!r}"
            yield Problem(path, f"{text}{suggest_closest(symbol, known)}")


def map_model_handles() -> dict[str, str]:
    """Return the deployment columns of a model's flows, by kind of flow."""
    kinds = (FlowKind.TRAINING, FlowKind.INFERENCE, FlowKind.MONITORING)
    return {kind: f"prefect_{kind}_deployment_id" for kind in kinds}
