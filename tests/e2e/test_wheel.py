"""The wheel in a project that has folders of the same names as this repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from make import find_uv
from tests.e2e.stack import FAST
from tests.prefect_server import DATABASE, begin_migrated

ROOT = Path(__file__).parents[2]

OWN_FLOW = """
from prefect import flow

@flow
def hello() -> str:
    import cli, libs
    return f"{libs.WHOSE} {cli.WHOSE}"
"""

OWN_DEPLOYMENT = {
    "name": "own",
    "deployments": [
        {"name": "own", "entrypoint": "flows/own.py:hello", "work_pool": {"name": "instances"}}
    ],
}

MANIFEST = {
    "project": "desk",
    "instances": [
        {
            "name": "prices",
            "type": "DatasetInstance",
            "pipeline": {
                "definition": "market_data",
                "config": {"source": "us_stocks", "symbols": ["AAPL"], "start_date": "2022-01-01"},
            },
        }
    ],
}


class Project:
    """A Prefect project of somebody else, with its environment and its home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.environment = folder / "environment"
        self.home = folder / "home"

    def run(self, *command: str, code: int = 0, **more: str) -> str:
        """Run a command of the environment in the project's folder and return its output."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "INSTANCES_"))}
        done = subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env={
                **kept,
                **FAST,
                "INSTANCES_HOME": str(self.home),
                "PYTHONPATH": str(self.folder),
                "DO_NOT_TRACK": "1",
                **more,
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, (command, done.stdout[-2000:], done.stderr[-4000:])
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path, prefect_template: Path) -> Iterator[Project]:
    """A project with packages ``flows``, ``libs``, ``blocks``, ``deployments`` and ``cli``."""
    made = Project(tmp_path)
    for name in ("flows", "libs", "blocks", "deployments", "cli"):
        (made.folder / name).mkdir(parents=True)
        (made.folder / name / "__init__.py").write_text(f"WHOSE = 'own {name}'\n")
    (made.folder / "flows" / "own.py").write_text(OWN_FLOW)
    (made.folder / "prefect.yaml").write_text(yaml.safe_dump(OWN_DEPLOYMENT))
    (made.folder / "desk.yaml").write_text(yaml.safe_dump(MANIFEST))
    _install(made.environment, tmp_path / "wheel")
    (made.home / "prefect").mkdir(parents=True)
    begin_migrated(made.home / "prefect" / DATABASE, prefect_template)
    yield made
    made.run("instances", "down")


def _install(environment: Path, built: Path) -> None:
    """The wheel alone, beside the locked dependencies of the environment that runs the tests."""
    venv.create(environment, with_pip=False, symlinks=True)
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    )
    # A folder that a .pth names has no .pth files of its own: the checkout is not on the path.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    uv = find_uv()
    for command in (
        [uv, "build", "--wheel", "--quiet", "--out-dir", str(built), str(ROOT)],
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(environment / "bin/python")],
    ):
        extra = [] if command[1] == "build" else [str(next(built.glob("*.whl")))]
        if subprocess.run([*command, *extra, "--offline"], capture_output=True).returncode:
            subprocess.run([*command, *extra], check=True)
    scripts = Path(sys.executable).parent
    prefect = (scripts / "prefect").read_text().partition("\n")[2]
    (environment / "bin" / "prefect").write_text(f"#!{environment}/bin/python\n{prefect}")
    (environment / "bin" / "prefect").chmod(0o755)


def test_an_instance_gets_ready_beside_a_flow_of_the_projects_own(project: Project) -> None:
    alone = ["python", "-P", "-c"]
    project.run(*alone, "import prefect_instances.flows.refresh_dataset", PYTHONPATH="")
    refused = project.run(*alone, "import flows", PYTHONPATH="", code=1)
    assert "No module named 'flows'" in refused

    project.run("instances", "up", "--detach")
    project.run("instances", "apply", "-f", "desk.yaml", "--wait")
    assert '"status": "READY"' in project.run("instances", "status", "prices", "--json")

    api = project.run("python", "-c", _API, PREFECT_HOME=str(project.home / "client")).strip()
    client = {"PREFECT_API_URL": api, "PREFECT_HOME": str(project.home / "client")}
    project.run("prefect", "--no-prompt", "deploy", "--all", **client)
    ran = project.run("prefect", "deployment", "run", "hello/own", "--watch", **client)
    assert "Completed" in ran or "COMPLETED" in ran


_API = """
from prefect_instances import load_settings
print(load_settings().prefect_api_url)
"""
