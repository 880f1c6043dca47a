"""A process that dies after any effect of a saga; the saga run again ends as if nothing happened.

The effects (commits, requests that write, calls to MLflow and Evidently) are counted in a run that
is not disturbed, so that a new step is killed too without anybody listing it. The first attempt
dies after its first effect, the next after its second, and so on. What may be left over lies
outside of the database; test_updating kills on both of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest

import prefect_instances.libs.adapters.mlflow.tracking as mlflow_tracking
from prefect_instances.libs.adapters.evidently import Monitoring
from prefect_instances.libs.adapters.mlflow import Tracking
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.adapters.prefect.api import Api
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.composition.model_stores import monitoring, tracking
from prefect_instances.libs.services.lifecycle.removal import deprovision
from tests.integration.bench import Bench, derived, prices
from tests.integration.services.procedures.test_models import model

MADE = ("ensure_experiment", "ensure_project", "POST /deployments/", "save_block")
"""What a saga of a model makes outside of the database, in order."""


class Killed(BaseException):
    """No ``except Exception`` of the saga may see it, as none sees SIGKILL."""


class Effects:
    """Counts effects, and dies after one of them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fatal: int | None = None

    def happened(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) == self.fatal:
            raise Killed(what)

    @contextmanager
    def dying_after(self, number: int | None) -> Iterator[None]:
        self.seen, self.fatal = [], number
        try:
            yield
        finally:
            self.fatal = None


@pytest.fixture
def effects(monkeypatch: pytest.MonkeyPatch) -> Effects:
    counted = Effects()
    places: list[tuple[Any, list[str]]] = [
        (Database, ["transact"]),
        (PrefectGateway, ["save_block"]),
        (Tracking, ["ensure_experiment", "delete_experiment", "delete_model"]),
        (mlflow_tracking, ["purge_embedded"]),
        (Monitoring, ["ensure_project", "delete_project"]),
    ]
    for owner, names in places:
        for name in names:
            monkeypatch.setattr(owner, name, _counting(counted, getattr(owner, name), name))
    send = Api.send

    def sending(self: Api, method: str, path: str, *rest: Any, **more: Any) -> Any:
        answer = send(self, method, path, *rest, **more)
        if method != "GET" and not path.endswith("/filter"):
            counted.happened(f"{method} {path}")
        return answer

    monkeypatch.setattr(Api, "send", sending)
    return counted


def _counting(effects: Effects, real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        result = real(*arguments, **more)
        effects.happened(name)
        return result

    return call


def everywhere(bench: Bench, project: str) -> dict[str, Any]:
    """What there is of a project in all systems, without ids and told events."""
    prefect, store = bench.services.prefect, tracking(bench.services)
    rows = {name: count for name, count in bench.rows().items() if name != "outbox"}
    experiments = store.client.search_experiments(view_type=3)
    watched = monitoring(bench.services)._workspace.list_projects()
    home = bench.services.settings.home
    folders = [home / "mlflow/artifacts", home / "evidently/workspace", home / "stores/outputs"]
    return {
        "rows": rows,
        "held": [one for one in conditions(bench) if one is not None],
        "deployments": sorted(
            (view.full_name, view.description, view.paused)
            for view in prefect.list_deployments_tagged(f"project:{project}")
        ),
        "document": prefect.find_block_document("model-instance", f"{project}--m") is not None,
        "experiments": sorted((e.name[:10], e.lifecycle_stage) for e in experiments),
        "projects": sorted(project.name[:10] for project in watched),
        "folders": [len(list(folder.glob("*"))) for folder in folders],
    }


def conditions(bench: Bench) -> list[Any]:
    from sqlalchemy import select

    from prefect_instances.libs.db.models import Resource

    with bench.services.database.read() as session:
        return list(session.scalars(select(Resource.condition)))


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(3, id="every third"),
        pytest.param(1, id="every", marks=pytest.mark.thorough),
    ],
)
def test_killed_after_any_effect_a_models_whole_life_goes_on(
    bench: Bench, effects: Effects, step: int
) -> None:
    project = f"k{uuid4().hex[:8]}"
    bench.provision(prices(project))
    bench.provision(derived(project, "momentum", "close / REF(close, 10) - 1", "prices"))
    first = model(project)
    second = {**first, "description": "Changed", "features": first["features"][:1]}
    second["features"] = [{"role": "momentum", "column": "value", "lags": [0, 1]}]

    def remove() -> None:
        try:
            deprovision(bench.services, f"{project}/m", purge=True)
        except NotFound:
            assert effects.seen == []  # An earlier attempt had come to its end.

    sagas: list[Callable[[], object]] = [
        lambda: bench.provision(first),
        lambda: bench.update(second),
        remove,
    ]
    # Definitions are registered at their first use, and stay.
    for saga in sagas:
        saga()
    ends, counts = [], []
    for saga in sagas:
        with effects.dying_after(None):
            saga()
        counts.append(len(effects.seen))
        ends.append(everywhere(bench, project))
    assert min(counts) >= 8

    for saga, end, count in zip(sagas, ends, counts, strict=True):
        for number in range(1, count + 1, step):
            with effects.dying_after(number), suppress(Killed):
                saga()
        saga()
        assert everywhere(bench, project) == end


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(MADE[::3], id="the first and the last"),
        pytest.param(MADE, id="each", marks=pytest.mark.thorough),
    ],
)
def test_an_attempt_that_died_unrecorded_is_removed_or_replaced_without_a_trace(
    bench: Bench, effects: Effects, made: tuple[str, ...]
) -> None:
    project = f"k{uuid4().hex[:8]}"
    bench.provision(prices(project))
    bench.provision(derived(project, "momentum", "close / REF(close, 10) - 1", "prices"))
    first = model(project)
    other = {**first, "description": "Another"}
    bench.provision(other)
    whole = everywhere(bench, project)
    deprovision(bench.services, f"{project}/m", purge=True)
    nothing = everywhere(bench, project)
    with effects.dying_after(None):
        bench.provision(first)
    steps = list(effects.seen)
    deprovision(bench.services, f"{project}/m", purge=True)

    for number in (steps.index(what) + 1 for what in made):
        for again, end in (
            (lambda: deprovision(bench.services, f"{project}/m", purge=True), nothing),
            (lambda: bench.provision(other), whole),
        ):
            with effects.dying_after(number), pytest.raises(Killed):
                bench.provision(first)
            again()
            assert everywhere(bench, project) == end, steps[number - 1]
        deprovision(bench.services, f"{project}/m", purge=True)
