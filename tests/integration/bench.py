"""Services over a test database and the test server, and a stand-in for the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from prefect_instances.flows.execution_flows import EXECUTION
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.records import OpeningStatus, RunParameters
from prefect_instances.libs.core.status import Cause, Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Base, FlowExecutionResource, GateOpening
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.services.composition.checks import examine
from prefect_instances.libs.services.composition.rows import write_rows
from prefect_instances.libs.services.lifecycle.external_resources import Ports
from prefect_instances.libs.services.lifecycle.provisioning import Provisioned, provision
from prefect_instances.libs.services.lifecycle.reconciling import restore_deployment
from prefect_instances.libs.services.lifecycle.updating import update_instance
from prefect_instances.libs.services.runs.execution import execute
from prefect_instances.libs.services.runs.procedures import run_procedure
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.specs import InstanceSpec, parse_spec
from prefect_instances.libs.wiring import open_broker

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "instance": {"type": "string"},
        "opening": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
}


class FaultyGateway:
    """The real gateway, but one of its methods fails the first few times that it is called."""

    def __init__(self, gateway: PrefectGateway, method: str, error: BaseException, times: int = 1):
        self._gateway, self._method, self._error, self._times = gateway, method, error, times

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._gateway, name)
        if name != self._method or self._times == 0:
            return real

        def fail(*_: Any, **__: Any) -> Any:
            self._times -= 1
            raise self._error

        return fail


UNREACHABLE = Unavailable("Prefect API", "connection refused (injected)")


@dataclass
class Bench:
    """One database, one server, and the actions that tests speak of."""

    services: Services

    def ports(self, services: Services, spec: InstanceSpec) -> Ports:
        def save(name: str) -> UUID:
            from prefect_instances.blocks import block_for

            return services.prefect.save_block(block_for(spec), name)

        execution = {name: (path, SCHEMA) for name, (path, _) in EXECUTION.items()}
        return Ports(execution=execution, save_document=save, flow_run_id=uuid4())

    def restore(self, flow_id: UUID) -> UUID:
        """What the sweep does about a deployment that is gone."""
        return restore_deployment(
            self.services, lambda spec, _: self.ports(self.services, spec), flow_id
        )

    def provision(self, document: dict[str, Any], services: Services | None = None) -> Provisioned:
        spec, used = parse_spec(document), services or self.services
        return provision(used, spec, self.ports(used, spec))

    def update(self, document: dict[str, Any], planned_on: int | None = None) -> Provisioned:
        spec = parse_spec(document)
        return update_instance(self.services, spec, self.ports(self.services, spec), planned_on)

    def with_fault(self, method: str, error: BaseException = UNREACHABLE) -> Services:
        faulty: Any = FaultyGateway(self.services.prefect, method, error)
        return replace(self.services, prefect=faulty)

    def flow_id(self, name: str, kind: str = "") -> UUID:
        """The flow of an instance; ``kind`` says which where it has several."""
        with self.services.database.read() as session:
            instance = get_instance(session, name)
            flow = FlowExecutionResource
            query = select(flow.id).where(flow.instance_id == instance.id)
            return session.scalars(query.where(flow.kind == kind) if kind else query).one()

    def instance_id(self, name: str) -> UUID:
        with self.services.database.read() as session:
            return get_instance(session, name).id

    def instance_label(self, name: str) -> str:
        """``project/name``."""
        with self.services.database.read() as session:
            return get_instance(session, name).label

    def run(self, name: str, kind: str = "refresh", **parameters: Any) -> Any:
        """A manual run of an instance's flow, in this process."""
        ask = RunWish(Cause.MANUAL, RunParameters(**parameters))
        return self.execute(Work(self.instance_id(name), uuid4(), None, ask, kind=kind))

    def execute(self, work: Work) -> Any:
        """What a worker does with a flow run."""
        return execute(self.services, work, run_procedure)

    def drain(self, limit: int = 50, only: str = "") -> list[str]:
        """Run every opening that is announced, until none is; what ran, in order.

        A dataset or signal by its name, any other flow as ``name.kind``. ``only`` that of one
        instance, if it is given.
        """
        ran: list[str] = []
        for _ in range(limit):
            opening = self._next_opening(only)
            if opening is None:
                return ran
            name, instance_id, opening_id, kind = opening
            self.execute(Work(instance_id, uuid4(), opening_id, None, kind=kind))
            ran.append(name if kind == "refresh" else f"{name}.{kind}")
        raise AssertionError(f"still opening after {limit} runs: {ran}")

    def _next_opening(self, only: str = "") -> tuple[str, UUID, UUID, str] | None:
        from prefect_instances.libs.db.models import Resource

        query = (
            select(Resource.name, Resource.id, GateOpening.id, FlowExecutionResource.kind)
            .join(FlowExecutionResource, FlowExecutionResource.id == GateOpening.flow_id)
            .join(Resource, Resource.id == FlowExecutionResource.instance_id)
            .where(GateOpening.status == OpeningStatus.OPEN)
            .order_by(GateOpening.opened_at)
        )
        if only:
            query = query.where(Resource.name == only)
        with self.services.database.read() as session:
            row = session.execute(query).first()
        return (row[0], row[1], row[2], row[3]) if row else None

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with self.services.database.read() as session:
            return {
                table.name: session.scalar(select(func.count()).select_from(table)) or 0
                for table in Base.metadata.sorted_tables
            }


def make_bench(
    database: Database, gateway: PrefectGateway, home: Path, clock: Callable[[], Any] | None = None
) -> Bench:
    """Services over the test's database and server."""
    settings = load_settings(home=home, database_url=str(database.url), heartbeat_seconds=5)
    ledger = Ledger(database, clock, lease=timedelta(seconds=30)) if clock else Ledger(database)
    live = SubscriberRelay(database, ledger.clock, lambda: open_broker(settings, gateway))
    registry = load_installed().extended(())
    return Bench(Services(settings, database, gateway, registry, ledger, live))


def write_instance(bench: Bench, document: dict[str, Any]) -> str:
    """Write the rows of an instance, without a server, make it ACTIVE, and return its id."""
    spec, services = parse_spec(document), bench.services

    def write(session: Session) -> UUID:
        blueprint = examine(session, services.registry, spec, services.now())
        return write_rows(session, blueprint, services.now()).id

    written = services.database.transact(write)
    services.ledger.set_lifecycle(written, Lifecycle.ACTIVE, first_run=None)
    return str(written)


def prices(project: str, name: str = "prices", **config: Any) -> dict[str, Any]:
    """A small dataset on packaged prices."""
    defaults = {
        "source": "us_stocks",
        "symbols": ["AAPL", "MSFT", "JPM"],
        "start_date": "2020-01-01",
        "end_date": "2020-12-30",
    }
    return {
        "name": name,
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "market_data", "config": {**defaults, **config}},
    }


def derived(
    project: str, name: str, expression: str, *upstreams: str, **more: Any
) -> dict[str, Any]:
    """A dataset computed from others."""
    return {
        "name": name,
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "expression", "config": {"expression": expression, **more}},
        "upstream_refs": [{"resource": upstream} for upstream in upstreams],
    }


NEXT_DAY = date(2020, 12, 31)
