"""The recipe of ``docs/ci.md``, word for word: from an empty Prefect server and database.

Its commands are those of the wheel, in a project of somebody else with folders of the same names.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.stack import BIN, REPOSITORY, market
from tests.e2e.wheel_project import Project
from tests.patience import eventually
from tests.prefect_server import (
    DATABASE,
    HOST,
    api_url,
    begin_migrated,
    environment,
    free_port,
    stop,
)

pytestmark = pytest.mark.e2e

MANIFEST = {"project": "fresh", "instances": [market("prices", symbols=["AAPL"])]}


def recipe() -> list[str]:
    """The commands below "From nothing", block by block; the first only says where things are."""
    text = (REPOSITORY / "docs" / "ci.md").read_text()
    section = text.partition("\n## From nothing\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the wheel in its environment."""
    made = Project(tmp_path)
    made.make()
    return made


@pytest.fixture
def bare(project: Project, tmp_path: Path, prefect_template: Path) -> Iterator[dict[str, str]]:
    """Prefect's own server with nothing in it; the environment of a machine that knows it."""
    begin_migrated(tmp_path / "prefect" / DATABASE, prefect_template)
    port = free_port()
    server = environment(tmp_path / "prefect", port)
    command = [str(BIN / "prefect"), "server", "start", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(
        command,
        env=server,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kept = {name: value for name, value in server.items() if not name.startswith("INSTANCES_")}
    try:
        eventually(lambda: answers(api_url(port)), 120)
        yield {
            **kept,
            "PATH": f"{project.environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(project.folder),
            # As often as a person's own worker asks; by default it is every ten seconds.
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "INSTANCES_HOME": str(project.home),
            "INSTANCES_DATABASE_URL": f"sqlite:///{tmp_path / 'instances.db'}",
        }
    finally:
        stop(process)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the recipe needs of a checkout, and the manifests."""
    folder = tmp_path / "checkout"
    (folder / "manifests").mkdir(parents=True)
    (folder / "prefect.yaml").symlink_to(REPOSITORY / "prefect.yaml")
    (folder / "manifests" / "fresh.yaml").write_text(yaml.safe_dump(MANIFEST))
    return folder


def test_the_recipe_leads_from_nothing_to_instances_that_are_ready(
    project: Project, bare: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    project.require_wheel_alone()
    where, prepare, work, create = recipe()
    assert [line.split("=")[0] for line in where.splitlines()] == [
        "export PREFECT_API_URL",
        "export INSTANCES_DATABASE_URL",
    ]

    prepared = shell(prepare, bare, checkout)
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            ["bash", "-euc", f"exec {work}"],
            env=bare,
            cwd=checkout,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        known = shell("instances definitions", bare, checkout)
        created = shell(create, bare, checkout)
        status = shell("instances status", bare, checkout)
        project.run_own_flow(**bare)
    finally:
        stop(worker)

    assert "created    database" in prepared.stdout
    assert "market_data" in known.stdout
    assert created.returncode == 0, (created, log.read_text()[-3000:])
    assert re.search(r"prices\s+.*READY", status.stdout)


def shell(
    commands: str, variables: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run commands as a CI job does: the first that fails ends it."""
    done = subprocess.run(
        ["bash", "-euc", commands],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (commands, done)
    return done
