"""Promote a dataset or an experiment to a signal that computes the same.

The stored data must satisfy the signal's contract; for an experiment that is its preview.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, PermanentError, Problem
from prefect_instances.libs.core.events import Event, build_instance_event, label_instance
from prefect_instances.libs.core.ids import PROMOTED
from prefect_instances.libs.core.status import FlowKind, InstanceType
from prefect_instances.libs.db.models import FlowExecutionResource
from prefect_instances.libs.db.repositories.outbox import record_new_events
from prefect_instances.libs.db.repositories.resources import (
    Named,
    flows_of,
    get_instance,
    select_newest_version,
)
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.content import check_frame, check_signal, fill_missing
from prefect_instances.libs.definitions.registry import FUNCTIONS
from prefect_instances.libs.services.composition.catalog import prefer_pinned, read_recorded_calls
from prefect_instances.libs.services.composition.certificates import require_certificate
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.composition.instance_types.experiments import (
    convert_to_expression,
)
from prefect_instances.libs.services.lifecycle.provisioning import Provisioned
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave
from prefect_instances.libs.services.state.event_subjects import related_resources
from prefect_instances.libs.specs import (
    ExperimentSpec,
    InstanceSpec,
    SignalContract,
    SignalSpec,
    parse_spec,
    spec_document,
)

PROMOTABLE = (FlowKind.REFRESH, FlowKind.PREVIEW)
"""The kinds of flow whose output can become a signal."""

Calls = Mapping[tuple[DefinitionKind, str], str]


class NothingStored(PermanentError):
    """The dataset or experiment has no output that could be checked: run it first."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} has no output to check yet; run it first")


class BreaksContract(PermanentError):
    """The stored data do not satisfy the contract: correct the data, or choose another contract."""

    def __init__(self, name: str, why: DataRejected) -> None:
        self.name, self.report = name, why.report
        super().__init__(f"the stored data of {name!r} do not satisfy the contract: {why}")


def build_promoted_spec(
    services: Services,
    reference: str,
    name: str,
    contract: Mapping[str, Any],
    *,
    audited: bool = False,
) -> InstanceSpec:
    """Build the spec of the signal that an instance becomes, and check the instance's stored data.

    ``audited`` requires that an audit of the current version found no look-ahead. Raises NotFound,
    InvalidSpec for an instance that is neither dataset nor experiment and for a wrong contract,
    NothingStored, BreaksContract, NotCertified.
    """
    with services.database.read() as session:
        named = get_instance(session, reference)
        version = select_newest_version(session, named.id)
        flow = next((f for f in flows_of(session, named.id) if f.kind in PROMOTABLE), None)
        calls = read_recorded_calls(session, named.id)
        kept = prefer_pinned(session, services.registry, named.id)
    if version is None or flow is None or named.type == InstanceType.SIGNAL:
        text = f"{named.label!r} is a {named.type}, neither a dataset nor an experiment"
        raise InvalidSpec([Problem("dataset", text)])
    before = parse_spec(version.spec_json)
    document = spec_document(before)
    if isinstance(before, ExperimentSpec):
        document = _of_experiment(convert_to_expression(kept, before), document, calls)
    document |= {"name": name, "type": InstanceType.SIGNAL.value, "signal": dict(contract)}
    document["promoted_from"] = named.label
    document.setdefault("description", f"Promoted from {named.label}")
    spec = parse_spec(document)
    assert isinstance(spec, SignalSpec)
    _check(services, named, flow, spec.signal)
    if audited:
        with services.database.read() as session:
            require_certificate(session, flow, named.label)
    return spec


def _of_experiment(
    before: ExperimentSpec, document: Mapping[str, Any], calls: Calls
) -> dict[str, Any]:
    """Build the part that a signal shares with the experiment; the ops keep their versions."""
    shared = ("project", "upstream_refs", "description", "executor")
    ops = {name: version for (kind, name), version in calls.items() if kind in FUNCTIONS}
    config = {"expression": before.expression, "inputs": dict(before.inputs), "ops": ops}
    pipeline = {
        "definition": "expression",
        "config": {key: value for key, value in config.items() if value},
    }
    return {**{key: document[key] for key in shared if key in document}, "pipeline": pipeline}


def _check(
    services: Services, named: Named, flow: FlowExecutionResource, contract: SignalContract
) -> None:
    if flow.version_id is None:
        raise NothingStored(named.label)
    frame = read_version(services, flow.version_id).collect()
    if contract.neutral_value is not None:
        frame = fill_missing(frame, contract.neutral_value, contract.index_columns)
    try:
        check_frame(frame)
        check_signal(
            frame,
            min_value=contract.min_value,
            max_value=contract.max_value,
            allow_nan=contract.allow_nan,
            index_columns=contract.index_columns,
        )
    except DataRejected as error:
        raise BreaksContract(named.label, error) from error


def record_promotion(services: Services, done: Provisioned, dataset: str) -> None:
    """Record the event of the promotion once, however often this is repeated."""

    def work(session: Session) -> None:
        signal = get_instance(session, str(done.instance_id))
        event = _event(services, session, signal, get_instance(session, dataset))
        record_new_events(session, [event])

    services.database.transact(work)
    relay_or_leave(services)


def _event(services: Services, session: Session, signal: Named, source: Named) -> Event:
    kind = "experiment" if source.type == InstanceType.EXPERIMENT else "dataset"
    related = (
        *related_resources(session, signal.id),
        {**label_instance(source), "prefect.resource.role": "promoted-from"},
    )
    # Without a key: a signal is promoted once.
    return build_instance_event(
        PROMOTED, services.now(), signal, "", related, **{kind: source.name}
    )
