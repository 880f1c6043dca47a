"""Each promise that nothing is lost or stuck, by real processes.

The tests share a home on SQLite with short waits, and those in which a database is locked or away
one on PostgreSQL too. What the services send is tested on both databases elsewhere.
"""

from __future__ import annotations

import math
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from sqlalchemy import func, select, text

from prefect_instances.libs.core.records import OpeningStatus
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import Base, FlowExecutionResource, GateOpening, RunRecord
from prefect_instances.libs.services.composition.model_stores import build_model_name, tracking
from prefect_instances.libs.services.lifecycle.automations import START_NAME
from prefect_instances.libs.services.state.ledger import utc_now
from tests.e2e.stack import expression, market
from tests.e2e.struck import Struck, frozen, newer_release, run_remedy
from tests.faults.world import Database
from tests.patience import eventually
from tests.prefect_server import DATABASE, begin_migrated

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

NEWER = '''
"""A revision that only a test has: on SQLite it copies and drops tables that others reference."""
import sqlalchemy as sa
from alembic import op

revision = "0003_newer"
down_revision = "0002_external_jobs"


def upgrade():
    for table in ("resources", "runs"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("extra", sa.Integer(), nullable=False, server_default="5"))
'''


on_each_home = pytest.mark.parametrize("home", ["sqlite", "postgresql"], indirect=True)
"""For what the two databases do differently: locks, and the death of a server."""


@pytest.fixture(scope="module", params=["sqlite"])
def home(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_template: Path,
) -> Iterator[Struck]:
    """One home for all tests of a database."""
    folder = Path(tempfile.mkdtemp(prefix="lost-"))
    postgres = Database(folder / "pg") if request.param == "postgresql" else None
    path = tmp_path_factory.mktemp(f"lost-{request.param}") / "home"
    begin_migrated(path / "prefect" / DATABASE, prefect_template)
    home = Struck(path, postgres.create() if postgres else "", postgres=postgres)
    try:
        home.up()
        yield home
    finally:
        home.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def all_runs(home: Struck) -> None:
    """Start what a failed test before this one left dead."""
    if not home.by_role()["worker"] or not home.by_role()["server"]:
        home.up()


@pytest.fixture(scope="module")
def modelled(home: Struck) -> str:
    """A project with a model that serves."""
    project = f"m{uuid4().hex[:6]}"
    model = {
        "name": "model",
        "type": "ModelInstance",
        "module": {"definition": "ridge"},
        "features": [{"role": "momentum", "column": "value", "lags": [0, 5]}],
        "upstream_refs": [
            {"resource": "prices", "role": "prices"},
            {"resource": "momentum", "role": "momentum"},
        ],
        "monitoring": {"reference_days": 20, "current_days": 15},
    }
    momentum = expression("momentum", "close / REF(close, 10) - 1", "prices")
    instances = [market("prices"), momentum, model]
    home.apply({"project": project, "instances": instances}, "--wait", seconds=600)
    return project


@contextmanager
def about_to_begin(
    home: Struck, project: str, folder: Path
) -> Iterator[tuple[str, dict[str, Any], Callable[[], None]]]:
    """A gated run that the worker has taken and nothing begins.

    Yields the label of its instance, the flow run, and what lets its process begin.
    """
    source, label = home.source(project, folder, "derived"), f"{project}/derived"
    home.hold(source, folder)
    with frozen(home, "forkserver") as wake:
        (folder / "hold").unlink()
        [taken] = eventually(lambda: home.flow_runs(label, "PENDING"), 60, "the worker took it")
        yield label, taken, wake


def test_a_run_that_dies_before_it_began_ends_and_its_opening_runs(
    home: Struck, project: str, tmp_path: Path
) -> None:
    with about_to_begin(home, project, tmp_path / "source") as (label, ghost, _):
        home.kill_worker()
    assert home.state_of(ghost) == "PENDING"

    home.up()

    assert_crashed_and_done_again(home, label, ghost)


@on_each_home
def test_a_run_that_dies_before_its_claim_ends_and_its_opening_runs(
    home: Struck, project: str, tmp_path: Path
) -> None:
    with (
        about_to_begin(home, project, tmp_path / "source") as (label, ghost, wake),
        home.writes_held(),
    ):
        wake()
        eventually(lambda: home.state_of(ghost) == "RUNNING", 60, "its process began")
        home.kill_worker()
    assert home.state_of(ghost) == "RUNNING"

    home.up()

    assert_crashed_and_done_again(home, label, ghost)


def assert_crashed_and_done_again(home: Struck, label: str, ghost: dict[str, Any]) -> None:
    """The run that died ends as crashed, and another one does what it was to do."""
    home.arrives(label)
    eventually(lambda: home.state_of(ghost) == "CRASHED", 60, "the ghost's end")
    assert [run["status"] for run in home.runs(label)] == ["completed", "completed"]


def test_a_run_that_ended_here_does_not_stay_running_in_prefect(
    home: Struck, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    label = home.source(project, folder)
    home.hold(label, folder)
    [ghost] = home.flow_runs(label, "RUNNING")
    with frozen(home, "server"):
        (folder / "hold").unlink()
        eventually(lambda: len(home.completed(label)) == 2, 60, "the run on record")
        home.kill_worker()
    assert home.state_of(ghost) == "RUNNING"

    home.up()

    eventually(lambda: home.state_of(ghost) == "COMPLETED", 90, "the end in Prefect")
    assert len(home.runs(label)) == 2


@contextmanager
def events_lost(home: Struck) -> Iterator[None]:
    """Switch off the automation that starts flows: only the sweep starts them."""
    found = home.post("/automations/filter", {})
    [id_] = [one["id"] for one in found if one["name"] == START_NAME]
    path = f"{home.api_url}/automations/{id_}"
    httpx.patch(path, json={"enabled": False}, timeout=30).raise_for_status()
    try:
        yield
    finally:
        httpx.patch(path, json={"enabled": True}, timeout=30).raise_for_status()


def waiting_opening(home: Struck, label: str) -> GateOpening:
    """The opening of an instance that no run has claimed."""
    flow = FlowExecutionResource.deployment_id
    deployment = UUID(home.flow(label)["deployment_id"])

    def look() -> list[GateOpening]:
        with home.database.read() as session:
            rows = select(GateOpening).join(
                FlowExecutionResource, FlowExecutionResource.id == GateOpening.flow_id
            )
            open_ = rows.where(GateOpening.status == OpeningStatus.OPEN)
            return list(session.scalars(open_.where(flow == deployment)))

    return eventually(look, 30, "an opening")[0]


def test_an_opening_that_cannot_start_is_mended_and_stops_nobody(
    home: Struck, project: str, tmp_path: Path
) -> None:
    folder, names = tmp_path / "source", ("deleted", "taken", "sound")
    source = home.source(project, folder, *names)
    deleted, taken, sound = (f"{project}/{name}" for name in names)
    lost = home.flow(deleted)["deployment_id"]
    home.hold(source, folder)
    with events_lost(home):
        httpx.delete(f"{home.api_url}/deployments/{lost}", timeout=30).raise_for_status()
        (folder / "hold").unlink()
        use_up_key(home, waiting_opening(home, taken), home.flow(sound)["deployment_id"])
        for label in (sound, deleted, taken):
            home.arrives(label)

    assert home.flow(deleted)["deployment_id"] != lost
    assert [len(home.completed(f"{project}/{name}")) for name in names] == [2, 2, 2]


def use_up_key(home: Struck, opening: GateOpening, deployment_id: str) -> None:
    """Give the key of an opening's run to a run of another deployment that never begins."""
    never = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    key = f"gate:{opening.id}:{opening.attempt}"
    body = {"state": never, "idempotency_key": key}
    home.post(f"/deployments/{deployment_id}/create_flow_run", body)


@on_each_home
def test_a_long_run_survives_a_database_that_was_away_for_longer_than_its_lease(
    home: Struck, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    label = home.source(project, folder)
    home.hold(label, folder)
    [long] = home.flow_runs(label, "RUNNING")

    lease = _lease(home)
    with home.database_away():
        eventually(lambda: utc_now() > lease + timedelta(seconds=4), 60, "the lease was over")
    swept = _sweeps(home)
    eventually(lambda: _sweeps(home) > swept + 1, 90, "two sweeps since")
    (folder / "hold").unlink()

    home.arrives(label)
    eventually(lambda: home.state_of(long) != "RUNNING", 30, "its end in Prefect")
    assert home.state_of(long) == "COMPLETED"
    assert [run["status"] for run in home.runs(label)] == ["completed", "completed"]


def _lease(home: Struck) -> datetime:
    """When the lease of the only run under way ends, unless its process extends it."""
    with home.database.read() as session:
        [until] = session.scalars(
            select(RunRecord.lease_until).where(RunRecord.status == RunStatus.RUNNING)
        )
    assert until is not None
    return until


def _sweeps(home: Struck) -> int:
    """How many sweeps have ended well."""
    flows = {"name": {"any_": ["sweep-freshness"]}}
    runs = {"state": {"type": {"any_": ["COMPLETED"]}}}
    return int(home.post("/flow_runs/count", {"flows": flows, "flow_runs": runs}))


@pytest.mark.parametrize("loss", ["registered model", "artifacts", "files"])
def test_what_is_lost_is_told_with_the_command_that_mends_it(
    home: Struck, modelled: str, loss: str
) -> None:
    lose(home, modelled, loss)

    found = home.findings(modelled)
    told = home.cli("reconcile").out

    assert {one["kind"] for one in found} == {"lost"}
    for one in found:
        assert one["remedy"] in told
    for one in found:
        if one in home.findings(modelled):
            run_remedy(home, one["remedy"])
    assert home.findings(modelled) == []
    assert home.settled(modelled)


def lose(home: Struck, project: str, loss: str) -> None:
    """Take away what the outputs of a project consist of."""
    if loss == "files":
        for name in ("prices", "momentum", "model"):
            shutil.rmtree(store_of(home, f"{project}/{name}"))
        return
    with home.services() as services:
        id_ = home.instance(f"{project}/model")["id"]
        name = build_model_name(project, "model", id_)
        if loss == "registered model":
            tracking(services).delete_model(name)
    if loss == "artifacts":
        models = [path for path in (home.home / "mlflow").rglob("MLmodel") if path.is_file()]
        assert models
        for path in models:
            shutil.rmtree(path.parent)


def store_of(home: Struck, label: str) -> Path:
    """The directory with the data of an instance."""
    id_ = str(home.instance(label)["id"])
    [folder] = [path for path in (home.home / "stores").rglob(id_) if path.is_dir()]
    return folder


def test_a_write_onto_a_full_disk_leaves_no_draft(
    home: Struck, project: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    small, large = _rows(10), _rows(700_000)
    path.write_text(small)
    pipeline = {"definition": "file", "config": {"path": str(path)}}
    instances = [
        {
            "name": store,
            "type": "DatasetInstance",
            "pipeline": pipeline,
            "store": {"definition": store},
        }
        for store in ("parquet", "delta")
    ]
    home.apply({"project": project, "instances": instances}, "--wait")
    folders = {store: store_of(home, f"{project}/{store}") for store in ("parquet", "delta")}
    before = {store: _files(folder) for store, folder in folders.items()}
    path.write_text(large)

    with full_disk(home):
        failed = [home.cli("run", f"{project}/{s}", "--wait", code=None) for s in folders]
    after = {store: _files(folder) for store, folder in folders.items()}

    assert [answer.code for answer in failed] == [1, 1], failed
    assert after == before
    for store in folders:
        home.cli("run", f"{project}/{store}", "--wait")
        assert home.flow(f"{project}/{store}")["generation"] == 2


@contextmanager
def full_disk(home: Struck) -> Iterator[None]:
    """Let no process of a run write beyond 4 MB in a file: the kernel refuses as a full disk does.

    What is smaller, such as the databases of a small home, can still be written.
    """
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        for process in home.by_role()["forkserver"]:
            process.rlimit(psutil.RLIMIT_FSIZE, (4_000_000, resource.RLIM_INFINITY))
        yield
    finally:
        for process in home.by_role()["forkserver"]:
            process.rlimit(psutil.RLIMIT_FSIZE, unlimited)


def _rows(count: int) -> str:
    rows = (f"2024-01-{1 + at % 28:02d},S{at // 28},{math.sin(at)}" for at in range(count))
    return "\n".join(["date,symbol,close", *rows]) + "\n"


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_moved_home_that_a_newer_release_migrates_still_serves(
    home: Struck, modelled: str, tmp_path: Path
) -> None:
    before, revision = _counts(home), home.flow(f"{modelled}/prices")["generation"]
    home.down()
    home.moved_to(tmp_path / "elsewhere")
    release = newer_release(tmp_path / "release", NEWER)
    path = f"{release}:{home.environment['PYTHONPATH']}"
    home.more = {"PYTHONPATH": path}

    said = home.cli("up", "--detach")

    [copy] = (home.home / "backups").glob("*")
    assert str(copy) in said.out + said.err
    with closing(sqlite3.connect(copy)) as connection:
        [(label,)] = connection.execute("SELECT version_num FROM alembic_version")
    assert label == "0002_external_jobs"
    assert {name: count for name, count in _counts(home).items() if count < before[name]} == {}
    with home.database.read() as session:
        assert set(session.scalars(text("SELECT extra FROM runs"))) == {5}
    home.cli("run", f"{modelled}/prices", "--as-of", "2022-12-05", "--wait")
    assert home.settled(modelled)
    assert home.flow(f"{modelled}/prices")["generation"] == revision + 1
    served = {run["flow_kind"]: run["status"] for run in home.runs(f"{modelled}/model")[:2]}
    assert served == {"inference": "completed", "monitoring": "completed"}
    assert home.findings(modelled) == []


def _counts(home: Struck) -> dict[str, int]:
    """How many rows each table has, but for those that come and go by themselves."""
    with home.database.read() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if "outbox" not in table.name
        }
