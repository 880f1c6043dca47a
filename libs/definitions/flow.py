"""What a definition declares about the flows of its instances, and what such a flow is given."""

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

if TYPE_CHECKING:
    import polars as pl

OUTPUT, UPSTREAMS = "output", "upstreams"
"""What an added flow may read: the output of its own instance, and what the instance reads."""

KIND = re.compile(r"(?=.{1,40}\Z)[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """A flow that the instances of a definition have beyond those of their type.

    ``runs`` names the method of the definition that does the work: it is given a ``FlowContext``
    and the inputs (a sequence of ``Input``), and returns a ``FlowResult``. ``schedule`` is the
    usual one, as a spec writes schedules; an instance may say another. ``reads`` holds ``output``,
    ``upstreams`` or both; where ``triggered``, new versions of these make the flow due.
    ``publishes`` says whether it has an output, ``aggregated`` whether its status counts in that
    of the instance.

    Of a flow that the type has anyway only the usual ``schedule`` can be given.
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
    """What the upstreams in one role are to an instance of the definition.

    ``flow`` is the kind of flow that has to be read, empty for any. ``require`` and ``triggers``
    hold where the instance says nothing, None leaving it to the kind of flow that reads.
    ``required`` says that an instance must have an upstream in this role.
    """

    role: str
    flow: str = ""
    require: Require | None = None
    triggers: bool | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class FlowContext:
    """For whom and when an added flow runs: the instance's name, the kind, an aware time."""

    instance: str
    kind: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Something for people to look at: it becomes a Prefect artifact of the run.

    ``key`` tells the pages of one flow apart; ``data`` is markdown, in which an image may be a data
    URI, or the rows of a table. (Prefect's own image artifacts print the whole URI below.)
    """

    key: str
    kind: Literal["markdown", "table"]
    data: object
    description: str = ""


@dataclass(frozen=True, slots=True)
class FlowResult:
    """What an added flow made.

    ``frame``: the output, (date x symbol) long, one column a field, in any row order; None exactly
    where the flow publishes nothing. ``metrics`` are named numbers and texts of the run.
    """

    frame: pl.DataFrame | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    pages: Sequence[Page] = ()


def flow_problems(
    specs: Sequence[FlowSpec], owner: InstanceType | None, implements: Callable[[str], bool]
) -> Iterable[Problem]:
    """What is wrong with ``flow_specs``, each problem at its path.

    ``owner`` is a type of instance whose status is the definition's concern, None where there is
    none; ``implements`` tells whether the definition has a method of that name.
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


def lineage_problems(
    contracts: Sequence[LineageContract], owner: InstanceType | None
) -> Iterable[Problem]:
    """What is wrong with ``lineage_contracts``, each problem at its path; see ``flow_problems``."""
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
