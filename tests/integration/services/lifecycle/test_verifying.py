"""``instances verify`` on real systems: nothing after healthy runs, then each loss by its kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import RunState
from prefect_instances.libs.core.audit import Fault
from prefect_instances.libs.core.divergence import Divergence
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import GateOpening, OutboxEvent
from prefect_instances.libs.services.composition.model_stores import (
    build_model_name,
    monitoring,
    read_model_row,
    tracking,
)
from prefect_instances.libs.services.lifecycle.automations import START_NAME
from prefect_instances.libs.services.lifecycle.reconciling import reconcile
from prefect_instances.libs.services.lifecycle.verifying import Verified, verify
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.services.state.run_pairs import end_dead_runs
from tests.databases import on_both_databases
from tests.integration.bench import Bench, prices
from tests.integration.services.lifecycle.test_reconcile import (
    bench,
    handles,
    plan_of,
    ports_of,
    start_and_abandon,
)
from tests.integration.services.procedures.test_models import flow, provisioned

__all__ = ["bench"]


def look(bench: Bench) -> Verified:
    return verify(bench.services, plan_of(bench))


def harm(found: Verified) -> set[tuple[str, Fault, str]]:
    """Subject without project, kind and detail of what does harm."""
    return {(f.subject.rpartition("/")[2], f.kind, f.detail) for f in found.findings if f.harms}


def lose_files(bench: Bench) -> None:
    shutil.rmtree(bench.services.settings.store_root)


def lose_model(bench: Bench) -> None:
    label = bench.instance_label("m")
    tracking(bench.services).delete_model(
        build_model_name(label.partition("/")[0], "m", bench.instance_id("m"))
    )


def lose_project(bench: Bench) -> None:
    project = read_model_row(bench.services, bench.instance_id("m")).evidently_project_id
    assert project is not None
    monitoring(bench.services).delete_project(project)


def lose_deployment(bench: Bench) -> None:
    id_ = flow(bench, "inference").deployment_id
    assert id_ is not None
    bench.services.prefect.delete_deployment(id_)


LOST, DIFFERS = Fault.LOST, Fault.DIVERGED
LOSSES: dict[str, tuple[Callable[[Bench], None], set[tuple[str, Fault]]]] = {
    "files": (
        lose_files,
        {("prices.refresh", LOST), ("momentum.refresh", LOST), ("m.inference", LOST)},
    ),
    "model": (lose_model, {("m", LOST)}),
    "project": (lose_project, {("m", DIFFERS)}),
    "deployment": (lose_deployment, {("m", DIFFERS)}),
}


@on_both_databases
def test_healthy_runs_leave_nothing_to_find_and_each_loss_is_found(
    bench: Bench, project: str
) -> None:
    provisioned(bench, project)
    bench.drain()
    known, found, order = harm(look(bench)), {}, []
    assert known == set()
    for name, (lose, _) in LOSSES.items():
        lose(bench)
        seen = look(bench)
        now = harm(seen)
        order = order or [one.subject.rpartition("/")[2] for one in seen.findings if one.harms]
        found[name] = {(subject, kind) for subject, kind, _ in now - known}
        known = now
    assert found == {name: told for name, (_, told) in LOSSES.items()}
    assert order == ["prices.refresh", "momentum.refresh", "m.inference"]


def test_an_opening_that_nobody_takes_and_events_that_do_not_leave_are_stuck(
    bench: Bench, project: str
) -> None:
    # Without it Prefect starts a run, which waits for a worker.
    bench.services.prefect.delete_automation(START_NAME)
    bench.provision(prices(project))
    assert stuck(bench) == set()
    past = bench.services.now() - timedelta(hours=1)

    def age(session: Session) -> None:
        session.execute(update(GateOpening).values(announced_at=past, not_before=past))
        session.execute(update(OutboxEvent).values(occurred=past, published_at=None))

    bench.services.database.transact(age)
    assert stuck(bench) == {"prices.refresh", "outbox"}


class EndsMeanwhile:
    """The real gateway; before it tells of runs, one of them ends here and then in Prefect."""

    def __init__(self, bench: Bench, end: Callable[[], object]) -> None:
        self._gateway, self._end = bench.services.prefect, end

    def __getattr__(self, name: str) -> Any:
        if name in ("list_started_runs", "read_runs"):
            self._end()
        return getattr(self._gateway, name)


def swept(services: Services, bench: Bench) -> object:
    return end_dead_runs(services, Failures())


def reconciled(services: Services, bench: Bench) -> object:
    found = reconcile(services, ports_of(bench)).items
    return [item for item in found if item.diverged.kind is Divergence.RUN_ENDED]


def verified(services: Services, bench: Bench) -> object:
    return harm(verify(services, plan_of(bench)))


@pytest.mark.parametrize("look_at", [swept, reconciled, verified])
def test_a_run_that_ends_while_somebody_looks_is_in_order(
    bench: Bench, project: str, look_at: Callable[[Services, Bench], object]
) -> None:
    bench.provision(prices(project))
    deployment_id = UUID(handles(bench, "prices")["prefect_deployment_id"])
    flow_run = bench.services.prefect.start_run(deployment_id, {})
    run_id = start_and_abandon(bench, "prices", flow_run.id)

    def end() -> None:
        if not ended:
            ended.append(bench.services.ledger.end_badly(run_id, RunStatus.FAILED, "no file"))
            bench.services.prefect.finish_run(flow_run.id, RunState.FAILED, "no file")

    ended: list[object] = []
    watched: Any = EndsMeanwhile(bench, end)
    assert not look_at(replace(bench.services, prefect=watched), bench)
    assert ended


def stuck(bench: Bench) -> set[str]:
    return {subject for subject, kind, _ in harm(look(bench)) if kind is Fault.STUCK}
