"""Published outputs that cannot be read any more: their files or their model version are gone."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import TemporaryError
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import DatasetVersion, FlowExecutionResource
from prefect_instances.libs.db.repositories.resources import Named, flows_of
from prefect_instances.libs.services.composition.components import find_loss
from prefect_instances.libs.services.composition.model_stores import parse_version_number, tracking
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures

Lost = dict[tuple[UUID, str], str]


def find_lost_outputs(
    services: Services, settled: Iterable[Named], unseen: dict[str, str], failures: Failures
) -> Lost:
    """Return why current outputs cannot be read, by instance id and flow kind.

    A system that does not answer is added to ``unseen`` and its outputs are left out; a failure of
    one instance does not hide the others.
    """
    lost: Lost = {}
    for named in settled:
        with services.database.read() as session:
            for flow in flows_of(session, named.id):
                system = _system_of(flow)
                if flow.version_id is None or system in unseen:
                    continue
                try:
                    loss = _loss(services, session, flow)
                except TemporaryError as error:
                    unseen[system] = f"{system} was not looked at: {error}"
                except Exception as error:  # noqa: BLE001 - one output must not hide the others
                    failures.note(f"output of {named.label}.{flow.kind}", error)
                else:
                    lost |= {(named.id, flow.kind): loss} if loss else {}
    return lost


def _system_of(flow: FlowExecutionResource) -> str:
    return "mlflow" if flow.kind == FlowKind.TRAINING else "stores"


def _loss(services: Services, session: Session, flow: FlowExecutionResource) -> str:
    """Return why the current output of a flow cannot be read, "" if it can."""
    version = session.get_one(DatasetVersion, flow.version_id)
    if flow.kind == FlowKind.TRAINING:
        name = version.location.removeprefix("models:/").rpartition("/")[0]
        return tracking(services).find_loss(name, parse_version_number(version.location))
    return find_loss(services, session, version).partition(";")[0]
