"""One running home for all tests of this folder, and one on PostgreSQL for those that ask for it.

A home ends when its worker goes on to another folder: it works all the time, also if nobody wants
anything of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.databases import Postgres
from tests.e2e.stack import REPOSITORY, Answer, Stack
from tests.prefect_server import DATABASE, begin_migrated

DEMO = REPOSITORY / "cli" / "demo.yaml"
LEFTOVERS = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nowhere/x"}
"""What another Prefect on the machine may have left in the environment of a person."""


@pytest.fixture(scope="package", params=["sqlite"])
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_template: Path,
) -> Iterator[Stack]:
    """A home with its server and worker; what the services send is tested on both databases."""
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create()
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    begin_migrated(home / "prefect" / DATABASE, prefect_template)
    running = Stack(home, url, LEFTOVERS)
    running.up()
    yield running
    running.down()
    assert not running.processes(), "down left processes behind"
    assert "Nothing is preloaded" not in (home / "logs" / "worker.log").read_text()


@dataclass(frozen=True)
class Shown:
    """What was seen when the demonstration had ended."""

    said: Answer
    """What ``demo`` said."""
    statuses: Mapping[str, str]
    joint: list[dict[str, Any]]
    """The runs of the instance at the joint."""
    api_url: str


@pytest.fixture(scope="package")
def shown(stack: Stack) -> Iterator[Shown]:
    """The demonstration in the home; at its end it is purged."""
    before = _kept_files(stack.home)
    said = stack.cli("demo", "--keep", code=None, seconds=400)
    joint = stack.runs("relative_momentum")
    assert _kept_files(stack.home) > before
    yield Shown(said, stack.statuses("demo"), joint, stack.api_url)
    purge_and_see_nothing_left(stack, before)


@pytest.fixture(scope="package")
def demo(stack: Stack, shown: Shown) -> Stack:
    """The home with the demonstration in it."""
    assert shown.said.code == 0, shown.said
    return stack


def purge_and_see_nothing_left(stack: Stack, before: set[Path]) -> None:
    """Delete all instances of the demonstration, with data, models and reports."""
    assert "demo/return_model" in _tracked(stack.home)
    for source in ("sp500_prices", "sp500_index"):
        stack.cli("delete", source, "--cascade", "--purge", seconds=400)
    assert stack.statuses("demo") == {}
    assert "demo/return_model" not in _tracked(stack.home)
    left = _kept_files(stack.home) - before
    others = {entry["id"] for entry in stack.instances()}
    assert {path for path in left if others.isdisjoint(path.parts)} == set(), "purging left files"


def _tracked(home: Path) -> str:
    """All that MLflow's database says."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        return "\n".join(connection.iterdump())


def _kept_files(home: Path) -> set[Path]:
    """Data, models and reports on the disk, without the databases that index them."""
    folders = [home / name for name in ("stores", "mlflow", "evidently")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.parent not in folders}
