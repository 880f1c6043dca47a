"""Plans: what an apply would create, change, remove and make stale, in order; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from prefect_instances.libs.core.differences import Difference, find_differences
from prefect_instances.libs.core.lineage import descendants, levels

Node = tuple[str, str]
"""A flow: the label of its instance (``project/name`` in lower case) and its kind."""


class Action(StrEnum):
    """What applying a plan does to one instance."""

    CREATE = "create"
    RESUME = "resume"
    UPDATE = "update"
    REMOVE = "remove"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Step:
    """One instance of a plan.

    ``version`` is the configuration version that the plan compared with, 0 if the instance does not
    exist. ``detail`` gives the cause if it is not obvious. ``invalidates`` names the flows whose
    output becomes stale (``project/name.kind``): the instance's own and those downstream.
    """

    action: Action
    name: str
    type: str
    detail: str = ""
    version: int = 0
    changes: tuple[Difference, ...] = ()
    invalidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of an apply, in the order of execution.

    ``levels`` groups the labels of the wanted instances: those of one level do not depend on each
    other.
    """

    steps: tuple[Step, ...]
    levels: tuple[tuple[str, ...], ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if every instance already is as wanted."""
        return all(step.action is Action.UNCHANGED for step in self.steps)

    @property
    def versions(self) -> dict[str, int]:
        """The version, at planning time, of each instance that the plan changes."""
        return {s.name: s.version for s in self.steps if s.action is not Action.UNCHANGED}

    def list_emptied_projects(self, kept: Iterable[str]) -> list[str]:
        """List the projects that lose every instance.

        ``kept`` are the projects with an instance in the manifest. The caller asks first, so that a
        manifest which became empty by mistake does not remove a whole project.
        """
        present = {project.lower() for project in kept}
        removed = {s.name.rpartition("/")[0] for s in self.steps if s.action is Action.REMOVE}
        return sorted(project for project in removed if project.lower() not in present)

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return {"steps": [asdict(step) for step in self.steps]}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance as the manifest describes it.

    ``upstreams`` are the labels that it reads; ``contents`` maps each flow kind to a fingerprint of
    what decides its output.
    """

    label: str
    name: str
    type: str
    document: Mapping[str, Any]
    upstreams: Collection[str] = ()
    contents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Present:
    """An instance as it exists.

    ``unfinished`` says what stopped its last change, empty if nothing did. ``complete`` is False if
    the instance never became active.
    """

    document: Mapping[str, Any]
    version: int
    complete: bool = True
    unfinished: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The existing flows: who reads whom, which have output, and their display names.

    ``edges`` are all edges, ``triggering`` those whose upstream makes the downstream due.
    """

    edges: Sequence[tuple[Node, Node]] = ()
    triggering: Sequence[tuple[Node, Node]] = ()
    published: frozenset[Node] = frozenset()
    names: Mapping[Node, str] = field(default_factory=dict)


def compute(
    wanted: Iterable[Wanted], present: Mapping[str, Present], lineage: Lineage | None = None
) -> Plan:
    """Compute the steps that lead from ``present`` to ``wanted``, upstreams first.

    ``wanted`` must have no cycle.
    """
    by_label = {item.label: item for item in wanted}
    pairs = [(up, item.label) for item in by_label.values() for up in item.upstreams]
    known = [(up, down) for up, down in pairs if up in by_label]
    grouped = levels(by_label, known)
    steps = [
        _step(by_label[label], present.get(label), lineage or Lineage())
        for level in grouped
        for label in level
    ]
    return Plan(tuple(steps), tuple(tuple(level) for level in grouped))


def _step(wanted: Wanted, present: Present | None, lineage: Lineage) -> Step:
    if present is None:
        return Step(Action.CREATE, wanted.name, wanted.type)
    changes = tuple(find_differences(present.document, wanted.document))
    if not present.complete or (present.unfinished and not changes):
        detail, version = present.unfinished, present.version
        return Step(Action.RESUME, wanted.name, wanted.type, detail, version, changes)
    if not changes:
        return Step(Action.UNCHANGED, wanted.name, wanted.type, version=present.version)
    return Step(
        Action.UPDATE,
        wanted.name,
        wanted.type,
        version=present.version,
        changes=changes,
        invalidates=list_invalidated(find_changed_flows(wanted, present), lineage),
    )


def find_changed_flows(wanted: Wanted, present: Present) -> set[Node]:
    """Return the flows whose output the change affects."""
    return {
        (wanted.label, kind)
        for kind, content in wanted.contents.items()
        if present.contents.get(kind) != content
    }


def list_invalidated(changed: Collection[Node], lineage: Lineage) -> tuple[str, ...]:
    """Name the flows whose output becomes stale: first the changed ones, then those downstream."""
    reached = descendants(changed, lineage.triggering)
    return tuple(
        lineage.names.get(node, f"{node[0]}.{node[1]}")
        for node in (*sorted(changed), *sorted(reached))
        if node in lineage.published
    )


SIGNS = {
    Action.CREATE: "+",
    Action.RESUME: "+",
    Action.UPDATE: "~",
    Action.REMOVE: "-",
    Action.UNCHANGED: "=",
}
"""The sign that begins a step of each action in a text."""


def format_lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as text: one line for each step, then its changes and what it makes stale."""
    for step in plan.steps:
        detail = f"  {step.detail}" if step.detail else ""
        yield f"{SIGNS[step.action]} {step.name}  {step.type}{detail}"
        for change in step.changes:
            yield f"    {change}"
        if step.invalidates:
            yield f"    makes stale: {', '.join(step.invalidates)}"
    yield summarize(plan)


DONE = {
    Action.CREATE: "created",
    Action.RESUME: "resumed",
    Action.UPDATE: "updated",
    Action.REMOVE: "removed",
    Action.UNCHANGED: "unchanged",
}
"""What is said of a step of each action when it is done."""


def summarize(plan: Plan, *, done: bool = False) -> str:
    """Return the number of steps of each action, in one line; ``done`` after they were applied."""
    counts: dict[str, int] = {}
    for step in plan.steps:
        word = DONE[step.action] if done or step.action is Action.UNCHANGED else f"to {step.action}"
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing to do"
