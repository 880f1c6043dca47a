"""Instances as code: a manifest checked and planned as one, in lineage order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from libs.core.errors import InvalidSpec, Problem
from libs.core.lineage import find_cycle, levels
from libs.core.status import Lifecycle
from libs.db.models import Resource
from libs.db.repositories.resources import find_instance, newest_version
from libs.services.checks import examine, label_of
from libs.services.context import Services
from libs.specs import InstanceSpec, Survey, spec_document


class Action(StrEnum):
    """What applying would do to one instance."""

    CREATE = "create"
    RESUME = "resume"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Step:
    """One instance of a plan; ``detail`` says why where that is not plain."""

    action: Action
    name: str
    type: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a manifest would do, in the order of its lineage.

    ``levels`` groups the labels: those of one level do not depend on each other.
    """

    steps: tuple[Step, ...]
    levels: tuple[tuple[str, ...], ...]

    @property
    def is_empty(self) -> bool:
        """True where everything is as the manifest says."""
        return all(step.action is Action.UNCHANGED for step in self.steps)

    def document(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {"steps": [asdict(step) for step in self.steps]}


def plan(services: Services, survey: Survey) -> Plan:
    """Check the whole manifest and say what applying it would do; nothing is changed.

    Raises InvalidSpec with every problem of every instance, each with its path: what was wrong
    with the text, and what is wrong with what it means.
    """
    specs = list(survey.manifest.instances)
    placed = [*zip(survey.paths, specs, strict=True), *survey.salvaged]
    pending = {label_of(spec): spec for _, spec in placed}
    problems = [*survey.problems, *_cycle_problems(placed, pending)]
    steps = {}
    with services.database.read() as session:
        for path, spec in placed:
            try:
                steps[label_of(spec)] = _step(services, session, spec, pending)
            except InvalidSpec as error:
                problems += [problem.under(path) for problem in error.problems]
    if problems:
        raise InvalidSpec(problems)
    grouped = levels(pending, _pairs(specs, pending))
    ordered = [label for level in grouped for label in level]
    return Plan(tuple(steps[label] for label in ordered), tuple(tuple(level) for level in grouped))


def _step(
    services: Services, session: Session, spec: InstanceSpec, pending: Mapping[str, InstanceSpec]
) -> Step:
    name = f"{spec.project}/{spec.name}"
    named = find_instance(session, name)
    if named is None:
        examine(session, services.registry, spec, pending)
        return Step(Action.CREATE, name, spec.type)
    if named.lifecycle is Lifecycle.DEPROVISIONING:
        raise InvalidSpec([Problem("name", f"{named.label!r} is being removed")])
    version = newest_version(session, named.id)
    same = version is not None and version.spec_json == spec_document(spec)
    if named.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        if same:
            return Step(Action.UNCHANGED, name, spec.type)
        text = f"{named.label!r} exists with another configuration; delete it first to replace it"
        raise InvalidSpec([Problem("name", text)])
    examine(session, services.registry, spec, pending)
    return Step(Action.RESUME, name, spec.type, _condition(session, named.id))


def _condition(session: Session, instance_id: Any) -> str:
    condition = session.get_one(Resource, instance_id).condition or {}
    return f"step {condition.get('step', '?')}: {condition.get('error', 'interrupted')}"


def _pairs(
    specs: Iterable[InstanceSpec], pending: Mapping[str, InstanceSpec]
) -> list[tuple[str, str]]:
    return [
        (upstream, label_of(spec))
        for spec in specs
        for _, ref in spec.references()
        if (upstream := _label(ref.resource, spec)) in pending
    ]


def _label(reference: str, spec: InstanceSpec) -> str:
    return (reference if "/" in reference else f"{spec.project}/{reference}").lower()


def _cycle_problems(
    placed: Iterable[tuple[str, InstanceSpec]], pending: Mapping[str, InstanceSpec]
) -> Iterable[Problem]:
    """A problem at every instance that is part of a cycle."""
    cycle = find_cycle(_pairs(pending.values(), pending))
    if cycle is None:
        return
    around = " -> ".join(cycle)
    for path, spec in placed:
        if label_of(spec) in cycle:
            yield Problem("upstream_refs", f"is part of a cycle: {around}").under(path)
