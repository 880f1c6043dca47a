"""Flows and lineage that a definition declares, and the context and result of such a flow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.ids import NAME, NAME_HELP
from prefect_instances.libs.core.shapes import OWN_OUTPUT, SHAPES
from prefect_instances.libs.core.status import FlowKind, InstanceType, Require
from prefect_instances.libs.definitions.external_job import ExternalJobs, UnrecordedJobs

if TYPE_CHECKING:
    import polars as pl

OUTPUT, UPSTREAMS = "output", "upstreams"
"""Inputs of an added flow: the output of its own instance, and the instance's upstreams."""

KIND = re.compile(r"(?=.{1,40}\Z)[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow that a definition adds to the flows of its instances' type.

    ``runs`` names the method of the definition that does the work: it takes a ``FlowContext`` and
    the inputs (a sequence of ``Input``), and returns a ``FlowResult``. ``schedule`` is the default
    schedule, written as in a spec; an instance may set another. ``reads`` holds ``output``,
    ``upstreams`` or both; if ``triggered``, new versions of these make the flow due. ``publishes``
    says whether it has an output, ``aggregated`` whether its status counts in that of the instance.

    For a flow that the type already has, only the default ``schedule`` can be set.
    """

    kind: str
    runs: str = ""
    schedule: Mapping[str, object] = field(default_factory=dict)
    reads: tuple[str, ...] = (OUTPUT,)
    triggered: bool = True
    publishes: bool = True
    aggregated: bool = True


@dataclass(frozen=True, slots=True)
class LineageContract:
    """How instances of the definition depend on the upstreams in one role.

    ``flow`` is the kind of flow that must be read, empty for any. ``require`` and ``triggers`` are
    defaults for instances that set nothing; None leaves the choice to the kind of flow that reads.
    ``required`` says that an instance must have an upstream in this role.
    """

    role: str
    flow: str = ""
    require: Require | None = None
    triggers: bool | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class FlowContext:
    """The run of an added flow: the instance's name, the kind of flow, and an aware time.

    ``jobs`` hands work to systems outside.
    """

    instance: str
    kind: str
    now: datetime
    jobs: ExternalJobs = field(default_factory=UnrecordedJobs)


@dataclass(frozen=True, slots=True)
class Page:
    """A page for people, published as a Prefect artifact of the run.

    ``key`` identifies the page within one flow; ``data`` is markdown, in which an image may be a
    data URI, or the rows of a table. (Prefect's own image artifacts print the whole URI below.)
    """

    key: str
    kind: Literal["markdown", "table"]
    data: object
    description: str = ""


@dataclass(frozen=True, slots=True)
class FlowResult:
    """The result of an added flow.

    ``frame``: the output, (date x symbol) long, one column for each field, rows in any order; None
    if and only if the flow publishes nothing. ``metrics`` are named numbers and texts of the run.
    """

    frame: pl.DataFrame | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    pages: Sequence[Page] = ()


def list_flow_problems(
    specs: Sequence[FlowSpec], owner: InstanceType | None, implements: Callable[[str], bool]
) -> Iterable[Problem]:
    """Yield the problems of ``flow_specs``, each at its path.

    ``owner`` is the type of instance that this kind of definition may extend, None if there is
    none; ``implements`` tests whether the definition has a method of that name.
    """
    if specs and owner is None:
        yield Problem("flow_specs", "only a pipeline, an ML module or an optimizer has flows")
        return
    seen: set[str] = set()
    for at, spec in enumerate(specs):
        if not isinstance(spec, FlowSpec):
            yield Problem(f"flow_specs[{at}]", "must be a FlowSpec")
            continue
        if spec.kind in seen:
            yield Problem(f"flow_specs[{at}].kind", f"{spec.kind!r} is repeated")
        seen.add(spec.kind)
        for problem in _flow_problems(spec, owner or InstanceType.DATASET, implements):
            yield problem.under(f"flow_specs[{at}]")


def _flow_problems(
    spec: FlowSpec, owner: InstanceType, implements: Callable[[str], bool]
) -> Iterable[Problem]:
    yield from _schedule_problems(spec.schedule)
    if spec.kind in SHAPES[owner].flows:
        if spec != FlowSpec(spec.kind, schedule=spec.schedule):
            text = f"every {owner} has {spec.kind}: only its usual schedule can be given"
            yield Problem("kind", text)
        return
    if spec.kind in frozenset(FlowKind):
        yield Problem("kind", f"{spec.kind!r} is a flow of other types of instance")
    elif not isinstance(spec.kind, str) or not KIND.match(spec.kind):
        yield Problem(
            "kind",
            f"{spec.kind!r} is not a valid name: use lower-case letters, digits and underscores",
        )
    if not spec.runs or not implements(spec.runs):
        yield Problem("runs", f"there is no method {spec.runs!r}; name a method of this class")
    unknown = [each for each in spec.reads if each not in (OUTPUT, UPSTREAMS)]
    if unknown or not spec.reads or isinstance(spec.reads, str):
        yield Problem("reads", f"must contain {OUTPUT!r}, {UPSTREAMS!r} or both")


def _schedule_problems(schedule: Mapping[str, object]) -> Iterable[Problem]:
    if not schedule:
        return
    from prefect_instances.libs.specs import ScheduleSpec, problems_of

    try:
        ScheduleSpec.model_validate(schedule)
    except ValidationError as error:
        yield from problems_of(error, "schedule")


def list_lineage_contract_problems(
    contracts: Sequence[LineageContract], owner: InstanceType | None
) -> Iterable[Problem]:
    """Yield the problems of ``lineage_contracts``, each at its path; see ``list_flow_problems``."""
    if contracts and owner is None:
        yield Problem("lineage_contracts", "only a pipeline, an ML module or an optimizer has them")
        return
    seen: set[str] = set()
    for at, contract in enumerate(contracts):
        path = f"lineage_contracts[{at}]"
        if not isinstance(contract, LineageContract):
            yield Problem(path, "must be a LineageContract")
            continue
        if contract.role in seen:
            yield Problem(f"{path}.role", f"{contract.role!r} is repeated")
        seen.add(contract.role)
        if not NAME.match(contract.role):
            yield Problem(f"{path}.role", f"{contract.role!r} is not a valid name: {NAME_HELP}")
        if contract.role == OWN_OUTPUT:
            yield Problem(f"{path}.role", "is the role of the instance's own output")
        if contract.flow and not NAME.match(contract.flow):
            yield Problem(f"{path}.flow", f"{contract.flow!r} is not a valid name: {NAME_HELP}")
        if contract.require is not None and contract.require not in frozenset(Require):
            yield Problem(f"{path}.require", f"must be one of {', '.join(Require)}")
