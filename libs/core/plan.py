"""Plans: what would be created, changed, removed and invalidated, in order. Pure, no effects."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from prefect_instances.libs.core.differences import Difference, differences
from prefect_instances.libs.core.lineage import descendants, levels

Node = tuple[str, str]
"""A flow: the label of its instance (``project/name`` in lower case) and its kind."""


class Action(StrEnum):
    """What applying would do to one instance."""

    CREATE = "create"
    RESUME = "resume"
    UPDATE = "update"
    REMOVE = "remove"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Step:
    """One instance of a plan.

    ``version`` is the configuration that was looked at, 0 where there is no such instance.
    ``detail`` says why where that is not plain. ``invalidates`` names the flows whose output is not
    current any more then (``project/name.kind``): its own and those downstream.
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
    """Steps in the order in which they would be done.

    ``levels`` groups the labels of what is wanted: those of one level do not depend on each other.
    """

    steps: tuple[Step, ...]
    levels: tuple[tuple[str, ...], ...] = ()

    @property
    def is_empty(self) -> bool:
        """True where everything is as it is wanted."""
        return all(step.action is Action.UNCHANGED for step in self.steps)

    @property
    def versions(self) -> dict[str, int]:
        """What the plan was made on: the version of each instance that it would touch."""
        return {s.name: s.version for s in self.steps if s.action is not Action.UNCHANGED}

    def emptied(self, kept: Iterable[str]) -> list[str]:
        """List the projects that lose every instance; ``kept`` are those with one in the manifest.

        A manifest that became empty by mistake must not remove a project without a word.
        """
        keeping = {project.lower() for project in kept}
        removed = {s.name.rpartition("/")[0] for s in self.steps if s.action is Action.REMOVE}
        return sorted(project for project in removed if project.lower() not in keeping)

    def document(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {"steps": [asdict(step) for step in self.steps]}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance as it is wanted: its document, the labels it reads, a fingerprint a flow."""

    label: str
    name: str
    type: str
    document: Mapping[str, Any]
    upstreams: Collection[str] = ()
    contents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Present:
    """An instance as it is; ``unfinished`` says what stopped its last change, empty for nothing.

    ``complete`` is False for one that never became active.
    """

    document: Mapping[str, Any]
    version: int
    complete: bool = True
    unfinished: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The flows that there are: who reads whom, who has output, and names to show them by.

    ``edges`` are all of them, ``triggering`` those by which an advance makes the reader due.
    """

    edges: Sequence[tuple[Node, Node]] = ()
    triggering: Sequence[tuple[Node, Node]] = ()
    published: frozenset[Node] = frozenset()
    names: Mapping[Node, str] = field(default_factory=dict)


def compute(
    wanted: Iterable[Wanted], present: Mapping[str, Present], lineage: Lineage | None = None
) -> Plan:
    """What it takes to make what is wanted, upstreams first. The wanted must have no cycle."""
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
    changes = tuple(differences(present.document, wanted.document))
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
        invalidates=invalidated(changed_flows(wanted, present), lineage),
    )


def changed_flows(wanted: Wanted, present: Present) -> set[Node]:
    """The flows whose output the change decides anew."""
    return {
        (wanted.label, kind)
        for kind, content in wanted.contents.items()
        if present.contents.get(kind) != content
    }


def invalidated(changed: Collection[Node], lineage: Lineage) -> tuple[str, ...]:
    """Names of the flows with output that is not current any more: the changed, then downstream."""
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
"""How the steps of each action begin in a text."""


def lines(plan: Plan) -> Iterator[str]:
    """The plan as text: a line a step, then what it changes and what that makes stale."""
    for step in plan.steps:
        detail = f"  {step.detail}" if step.detail else ""
        yield f"{SIGNS[step.action]} {step.name}  {step.type}{detail}"
        for change in step.changes:
            yield f"    {change}"
        if step.invalidates:
            yield f"    makes stale: {', '.join(step.invalidates)}"
    yield summary(plan)


def summary(plan: Plan) -> str:
    """How many steps of which kind, in one line."""
    counts: dict[str, int] = {}
    for step in plan.steps:
        word = "unchanged" if step.action is Action.UNCHANGED else f"to {step.action}"
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing to do"
