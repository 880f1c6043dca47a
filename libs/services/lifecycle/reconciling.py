"""Reconcile the records with other systems: repair what is safe to repair, report the rest.

Both sides are observed, compared by a pure function (``libs.core.divergence``), then repaired one
by one. Each repair looks again before it acts, and can be repeated. A difference that only a person
can judge is reported, by at most one event a day.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import Change, DeploymentPlan, RunState
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.divergence import Diverged, Divergence, find_divergences
from prefect_instances.libs.core.errors import (
    BusyElsewhere,
    InstancesError,
    NotFound,
    PermanentError,
)
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.status import Lifecycle, RunStatus
from prefect_instances.libs.db.models import FlowExecutionResource, Resource
from prefect_instances.libs.db.repositories.outbox import record_new_events
from prefect_instances.libs.db.repositories.resources import select_newest_version
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.lifecycle.automations import (
    AGGREGATE_STATUS,
    plan_recovery,
)
from prefect_instances.libs.services.lifecycle.external_resources import (
    Ports,
    create_external,
    deploy_flow,
    plan_deployment,
    save_document,
)
from prefect_instances.libs.services.lifecycle.observing import Sight, is_settled, observe
from prefect_instances.libs.services.lifecycle.updating import update_instance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.services.state.event_subjects import related_resources
from prefect_instances.libs.services.state.run_recovery import BAD_STATES, end_run
from prefect_instances.libs.specs import InstanceSpec, parse_spec

REPAIRS = 100
"""How many repairs one reconciliation makes; the next one makes the others."""

_log = logging.getLogger("instances.reconcile")


class Outcome(StrEnum):
    """What was done about a difference."""

    REPAIRED = "repaired"
    REPORTED = "reported"
    FAILED = "failed"
    LEFT = "left for the next time"


ACTED = frozenset({Outcome.REPAIRED, Outcome.FAILED})
"""Outcomes of an attempt to repair."""


@dataclass(frozen=True, slots=True)
class Settled:
    """One difference and what was done about it; ``note`` says why it was not repaired."""

    diverged: Diverged
    outcome: Outcome
    note: str = ""

    def row(self) -> dict[str, str]:
        """Convert to a row of texts."""
        what = self.diverged
        return {
            "subject": what.subject,
            "divergence": what.kind,
            "part": what.part,
            "difference": "; ".join(what.difference),
            "remedy": what.remedy,
            "outcome": f"{self.outcome}: {self.note}" if self.note else self.outcome,
        }


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Every difference, and what could not be observed."""

    items: tuple[Settled, ...]
    unseen: tuple[str, ...]

    def count(self, outcome: Outcome) -> int:
        """Count the differences with an outcome."""
        return sum(item.outcome is outcome for item in self.items)


PortsOf = Callable[[InstanceSpec, UUID | None], Ports]
"""Builds Ports for a spec and the block document that must stay (None: save a document)."""


def reconcile(
    services: Services,
    ports: PortsOf,
    lifecycle: Sequence[DeploymentPlan] = (),
    *,
    remove_unknown: bool = False,
) -> Reconciled:
    """Compare the records with Prefect, MLflow and Evidently; repair, and report the rest.

    ``lifecycle`` are the required deployments of the lifecycle flows; by default they are not
    checked. ``remove_unknown`` deletes deployments that belong to no instance of this database
    (another database may use the same server: only a person can know). Raises Unavailable if
    Prefect or the database does not answer.
    """

    def plan_of(id_: UUID, spec: InstanceSpec, kind: str) -> DeploymentPlan:
        return plan_deployment(services, id_, spec, ports(spec, None), kind)

    sight = observe(services, plan_of, lifecycle)
    by_name = {plan.full_name: plan for plan in lifecycle}
    repairer = Repairer(services, sight, ports, remove_unknown, by_name)
    items = []
    for diverged in find_divergences(sight.recorded, sight.world):
        item = repairer.settle(diverged)
        if item is not None:
            items.append(item)
            if item.outcome in ACTED:
                _announce(services, [item])  # Whatever becomes of the repairs after it.
    _announce(services, [item for item in items if item.outcome not in ACTED])
    relay_or_leave(services)
    return Reconciled(tuple(items), sight.unseen)


class _Vanished(Exception):
    """The difference is gone at the second look: there is nothing to repair or report."""


@dataclass
class Repairer:
    """Repairs differences, at most ``budget`` of them."""

    services: Services
    sight: Sight
    ports: PortsOf
    remove_unknown: bool
    lifecycle: Mapping[str, DeploymentPlan] = field(default_factory=dict)
    budget: int = REPAIRS

    def settle(self, diverged: Diverged) -> Settled | None:
        """Repair or report a difference; None if it is gone."""
        repair = self._repairs().get(diverged.kind)
        if repair is None:
            return Settled(diverged, Outcome.REPORTED)
        if not self.budget:
            return Settled(diverged, Outcome.LEFT)
        self.budget -= 1
        try:
            repair(diverged)
        except _Vanished:
            return None
        except Exception as error:  # noqa: BLE001 - one bad item must not stop the repairs after it
            text = str(error) if isinstance(error, InstancesError) else repr(error)
            _log.warning("%s of %s: %s", diverged.kind, diverged.subject, text, exc_info=error)
            return Settled(diverged, Outcome.FAILED, text)
        return Settled(diverged, Outcome.REPAIRED)

    def _repairs(self) -> dict[Divergence, Callable[[Diverged], None]]:
        repairs: dict[Divergence, Callable[[Diverged], None]] = {
            Divergence.DEPLOYMENT_MISSING: self._deploy,
            Divergence.DEPLOYMENT_EDITED: self._undo_edits,
            Divergence.LIFECYCLE_MISSING: self._register,
            Divergence.AUTOMATION_MISSING: self._automate,
            Divergence.AUTOMATION_CHANGED: self._automate,
            Divergence.DOCUMENT_MISSING: self._save,
            Divergence.DOCUMENT_CHANGED: self._apply,
            Divergence.EXTERNAL_MISSING: self._connect,
            Divergence.RUN_ENDED: self._end,
        }
        if self.remove_unknown:
            repairs[Divergence.DEPLOYMENT_UNKNOWN] = self._delete
        return repairs

    def _deploy(self, diverged: Diverged) -> None:
        id_, _, _ = self._settled(diverged)
        flow_id = uuid5(id_, diverged.part)
        known = self.services.database.transact(partial(_deployment_of, flow_id=flow_id))
        if known is not None and self.services.prefect.find_deployment(known) is not None:
            raise _Vanished
        restore_deployment(self.services, self.ports, flow_id)

    def _undo_edits(self, diverged: Diverged) -> None:
        id_, spec, _ = self._settled(diverged)
        ensured = deploy_flow(self.services, id_, spec, self.ports(spec, None), diverged.part)
        if ensured.change is Change.UNCHANGED:
            raise _Vanished

    def _register(self, diverged: Diverged) -> None:
        """Create the deployment; the automation of bad ends names one by id and is updated."""
        made = self.services.prefect.ensure_deployment(self.lifecycle[diverged.subject])
        if diverged.subject == AGGREGATE_STATUS:
            self.services.prefect.ensure_automation(plan_recovery(made.id))

    def _automate(self, diverged: Diverged) -> None:
        self.services.prefect.ensure_automation(self.sight.plans[diverged.subject])

    def _save(self, diverged: Diverged) -> None:
        id_, spec, _ = self._settled(diverged)
        save_document(self.services, id_, spec, self.ports(spec, None))

    def _apply(self, diverged: Diverged) -> None:
        """Update the instance to the content of its block, which must not rename it."""
        id_, spec, _ = self._settled(diverged)
        document_id = UUID(diverged.part)
        wanted = parse_spec(self.sight.world.documents[document_id].document or {})
        if (wanted.project, wanted.name, wanted.type) != (spec.project, spec.name, spec.type):
            raise PermanentError("a block cannot rename its instance; create another block instead")
        with self.services.database.read() as session:
            version = select_newest_version(session, id_)
        planned_on = version.number if version is not None else None
        ports = self.ports(wanted, document_id)
        update_instance(self.services, wanted, ports, planned_on)

    def _connect(self, diverged: Diverged) -> None:
        id_, spec, _ = self._settled(diverged)
        external = next(
            one for one in TYPE_DESCRIPTIONS[spec.type].externals if one.name == diverged.part
        )
        create_external(self.services, id_, spec, external)

    def _end(self, diverged: Diverged) -> None:
        run = next(run for run in self.sight.world.runs if str(run.run_id) == diverged.part)
        status = BAD_STATES.get(RunState(run.ended), RunStatus.CRASHED)
        said = run.message if RunState(run.ended) in BAD_STATES else ""
        text = said or f"Prefect has its flow run as {run.ended}, and it published nothing"
        _log.warning(end_run(self.services, run.run_id, status, text))

    def _delete(self, diverged: Diverged) -> None:
        self.services.prefect.delete_deployment(UUID(diverged.part))

    def _settled(self, diverged: Diverged) -> tuple[UUID, InstanceSpec, Lifecycle]:
        """Read the present instance; raise _Vanished if somebody is changing or removing it."""
        assert diverged.instance_id is not None
        with self.services.database.read() as session:
            resource = session.get(Resource, diverged.instance_id)
            version = select_newest_version(session, diverged.instance_id)
            if resource is None or version is None or not is_settled(resource):
                raise _Vanished
            return resource.id, parse_spec(version.spec_json), resource.lifecycle


def restore_deployment(services: Services, ports: PortsOf, flow_id: UUID) -> UUID:
    """Create the deployment of a flow again from the recorded configuration; return its id.

    Raises NotFound if the flow's instance is gone, BusyElsewhere if somebody is changing it.
    """
    with services.database.read() as session:
        flow = session.get(FlowExecutionResource, flow_id)
        resource = session.get(Resource, flow.instance_id) if flow else None
        version = select_newest_version(session, resource.id) if resource else None
        if flow is None or resource is None or version is None:
            raise NotFound("flow", str(flow_id))
        if not is_settled(resource):
            raise BusyElsewhere(resource.name, "changed")
        spec, kind, lifecycle = parse_spec(version.spec_json), flow.kind, resource.lifecycle
    made = deploy_flow(services, flow.instance_id, spec, ports(spec, None), kind)
    if lifecycle is Lifecycle.PAUSED:
        services.prefect.set_deployment_paused(made.id, True)
    return made.id


def _deployment_of(session: Session, flow_id: UUID) -> UUID | None:
    return session.get_one(FlowExecutionResource, flow_id).deployment_id


def _announce(services: Services, items: Sequence[Settled]) -> None:
    """Record an event for each; a difference that stays gets one event a day."""

    def write(session: Session) -> None:
        record_new_events(session, [_event(services, session, item) for item in items])

    if items:
        services.database.transact(write)


def _event(services: Services, session: Session, item: Settled) -> Event:
    now, what = services.now(), item.diverged
    acted = item.outcome is Outcome.REPAIRED
    when = now.isoformat() if acted else now.date().isoformat()
    identity = (what.kind, what.subject, what.part, *what.difference, item.outcome, when)
    return Event(
        id=uuid5(NAMESPACE_URL, "\n".join((ids.DIVERGED, *identity))),
        name=ids.DIVERGED,
        occurred=now,
        resource={"prefect.resource.id": _resource(what), "prefect.resource.name": what.subject},
        related=related_resources(session, what.instance_id) if what.instance_id else (),
        payload=_payload(item),
    )


def _resource(what: Diverged) -> str:
    if what.instance_id is not None:
        return ids.instance_resource(what.instance_id)
    return f"instances.{hashlib.sha256(what.subject.encode()).hexdigest()[:16]}"


def _payload(item: Settled) -> dict[str, Any]:
    return {
        "divergence": item.diverged.kind,
        "subject": item.diverged.subject,
        "part": item.diverged.part,
        "difference": list(item.diverged.difference),
        "remedy": item.diverged.remedy,
        "outcome": item.outcome,
        "note": item.note,
    }


def rows(items: Iterable[Settled]) -> list[dict[str, str]]:
    """Convert the differences to a table of texts."""
    return [item.row() for item in items]
