"""Check, before a run claims its opening, that the definitions it needs can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped, Started, Unusable
from prefect_instances.libs.core.errors import DefinitionUnavailable, InstancesError, InvalidSpec
from prefect_instances.libs.db.models import (
    Resource,
    ResourceVersion,
)
from prefect_instances.libs.db.repositories.flows import select_upstream_datasets
from prefect_instances.libs.services.composition.components import keeping, made
from prefect_instances.libs.services.composition.contracts import composition_of, contracts_of
from prefect_instances.libs.services.composition.instance_types.experiments import (
    expression_pipeline,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.specs import ExperimentSpec, InstanceSpec

if TYPE_CHECKING:
    from prefect_instances.libs.services.runs.run_context import Work

READ_BY = ("store", "accessor")
"""The components that read an upstream's versions."""


def begin(
    services: Services, flow_id: UUID, spec: InstanceSpec, work: Work
) -> Started | Skipped | AskedAgain | Blocked:
    """Check the definitions, then claim the work; see ``Ledger.start``.

    Raises DefinitionUnavailable if a definition is missing, broken or does not accept its
    configuration. Then nothing runs, and the flow shows the error until the next run request.
    """
    fault = find_fault(services, flow_id, spec, work.instance_id)
    started = services.ledger.start(
        flow_id,
        work.flow_run_id,
        opening_id=work.opening_id,
        ask=work.ask,
        unusable=str(fault or ""),
    )
    relay_or_leave(services)
    if isinstance(started, Unusable):
        assert fault is not None
        raise fault
    return started


def find_fault(
    services: Services, flow_id: UUID, spec: InstanceSpec, instance_id: UUID
) -> DefinitionUnavailable | None:
    """Return why a run of the flow cannot use the definitions it needs; None if it can."""
    with services.database.read() as session:
        own = composition_of(session, spec.type, instance_id).values()
        for row in (*own, *_reading_upstreams(session, flow_id)):
            if fault := _fault_of(services, session, row):
                return fault
        instance = ("the instance", spec.name, "")
        return _tried(instance, lambda: _as_a_whole(services, session, spec, instance_id))


def _as_a_whole(
    services: Services, session: Session, spec: InstanceSpec, instance_id: UUID
) -> None:
    """Check what belongs to no component: guardrail contracts, and an experiment's expression."""
    contracts_of(session, services.registry, spec, instance_id)
    if isinstance(spec, ExperimentSpec):
        expression_pipeline(keeping(services, instance_id), spec).calls()


def _reading_upstreams(session: Session, flow_id: UUID) -> Iterable[Any]:
    """Yield the component rows that are needed to read the upstreams' versions."""
    for type_, id_ in select_upstream_datasets(session, flow_id):
        composition = composition_of(session, type_, id_)
        yield from (composition[role] for role in READ_BY)


def _fault_of(services: Services, session: Session, row: Any) -> DefinitionUnavailable | None:
    definition = session.get_one(Resource, row.definition_resource_id)
    version = session.get_one(ResourceVersion, row.definition_version_id)
    label = (definition.type, definition.name, version.label)
    return _tried(label, lambda: made(services, session, row).calls())


def _tried(label: tuple[str, str, str], use: Callable[[], object]) -> DefinitionUnavailable | None:
    """Call ``use`` and return the error of the definition, or None.

    ``label`` is the definition's kind, name and version. If something else is unavailable, the
    definition has no error: the run itself meets that error.
    """
    try:
        use()
    except DefinitionUnavailable as error:
        return error
    except InvalidSpec as error:
        advice = "correct the configuration and apply it, or pin a version that accepts it"
        return DefinitionUnavailable(
            *label, f"it does not accept the configuration: {error}; {advice}"
        )
    except InstancesError:
        return None
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return DefinitionUnavailable(*label, f"{text}; repair it, or pin another version")
    return None
