"""What most of these tests work with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_instances.libs.adapters.mlflow import Tracking
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.places import RemotePlace
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.lifecycle.automations import BAD_END_NAME, START_NAME
from prefect_instances.libs.services.state import run_pairs
from tests.azurite import Azurite, serve_azurite
from tests.integration.bench import Bench, make_bench
from tests.object_store import S3, enter_bucket, serve_s3


@pytest.fixture(scope="session", autouse=True)
def clocks_are_turned_by_hand() -> Iterator[None]:
    """A sweep does not wait for processes that live by another clock than its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_pairs, "GRACE_SECONDS", 0)
        yield


_connected: list[PrefectGateway] = []
"""The session's server, once a test has asked for it."""


@pytest.fixture(scope="package")
def gateway(gateway: PrefectGateway) -> Iterator[PrefectGateway]:
    """The session's server, named in Prefect's settings once, as for a flow, and not a call."""
    _connected.append(gateway)
    with temporary_settings({PREFECT_API_URL: gateway.api_url}):
        yield gateway
    _connected.remove(gateway)


@pytest.fixture(scope="module", autouse=True)
def automations_stay_in_their_file() -> Iterator[None]:
    """Delete our automations, as a reconcile makes them: other files want nothing started."""
    yield
    for gateway in _connected:
        for name in (START_NAME, BAD_END_NAME):
            gateway.delete_automation(name)


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Bench:
    """Services over a new database and the session's server."""
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    return make_bench(database, gateway, tmp_path)


@pytest.fixture(scope="session", autouse=True)
def mlflow_is_migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every home's embedded tracking store begins as a copy: MLflow's migrations take seconds."""
    prepare, template = Tracking.prepare, tmp_path_factory.mktemp("mlflow") / "template"

    def prepare_a_copy(self: Tracking) -> None:
        if self.embedded and not self.folder.exists():
            if not template.exists():
                prepare(Tracking(template))
            shutil.copytree(template, self.folder)
        prepare(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracking, "prepare", prepare_a_copy)
        yield


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return f"p{uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One S3 server for all tests of a session."""
    with serve_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> RemotePlace:
    """An empty bucket of its own, which the environment's identity reaches."""
    return enter_bucket(s3, monkeypatch)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azure Blob Storage server for all tests of a session."""
    with serve_azurite() as server:
        yield server


@pytest.fixture
def container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> RemotePlace:
    """An empty container of its own, which the environment's identity reaches."""
    return enter_bucket(azurite, monkeypatch)
