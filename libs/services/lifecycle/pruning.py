"""Prune: remove instances that a manifest's projects hold but the manifest does not list."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.plan import Step
from prefect_instances.libs.db.repositories.resources import (
    Named,
    select_dependents,
    select_instances,
)
from prefect_instances.libs.services.composition.checks import build_label
from prefect_instances.libs.services.lifecycle.removal import plan_removal_step
from prefect_instances.libs.specs import InstanceSpec
from prefect_instances.libs.specs.reading.names import full_name

Placed = Sequence[tuple[str, InstanceSpec]]
"""The instances of a manifest, each with its path."""


def prune(
    session: Session, placed: Placed, projects: Collection[str]
) -> tuple[list[Step], list[Problem]]:
    """Plan the removals, readers first, and return them with the problems that prevent them.

    Other projects are not touched. It is a problem if an instance that stays reads from one that
    would be removed.
    """
    wanted = {build_label(spec) for _, spec in placed}
    within = {project.lower() for project in projects}
    surplus = {
        named.label.lower(): named
        for named in select_instances(session)
        if named.project.lower() in within and named.label.lower() not in wanted
    }
    readers = {label: select_dependents(session, named.id) for label, named in surplus.items()}
    pairs = [
        (label, reader.label.lower())
        for label, found in readers.items()
        for reader in found
        if reader.label.lower() in surplus
    ]
    order = [surplus[label] for label in reversed(topological_order(surplus, pairs))]
    steps = [plan_removal_step(session, named, purge=False) for named in order]
    return steps, [*_kept_readers(placed, surplus), *_outside(readers, wanted, surplus)]


def _kept_readers(placed: Placed, surplus: Mapping[str, Named]) -> Iterable[Problem]:
    for path, spec in placed:
        for place, ref in spec.references():
            if full_name(ref.resource, spec.project) in surplus:
                text = f"{ref.resource!r} is not in the manifest, so that pruning would remove it"
                yield Problem(f"{place}.resource", text).under(path)


def _outside(
    readers: Mapping[str, Sequence[Named]], wanted: Collection[str], surplus: Mapping[str, Named]
) -> Iterable[Problem]:
    for label, found in readers.items():
        for reader in found:
            other = reader.label.lower()
            if other not in wanted and other not in surplus:
                text = f"{reader.label!r} reads {surplus[label].label!r}, which would be pruned"
                yield Problem("", text)
