"""A Prefect project of somebody else that has only the wheel of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import yaml

from make import find_uv
from tests.e2e.stack import FAST

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

    def run_own_flow(self, **variables: str) -> None:
        """Deploy that flow, and run it on the worker that runs instances."""
        self.run("prefect", "--no-prompt", "deploy", "--all", **variables)
        ran = self.run("prefect", "deployment", "run", "hello/own", "--watch", **variables)
        assert "Completed" in ran or "COMPLETED" in ran

    def require_wheel_alone(self) -> None:
        """Check that this repository is found in the wheel's package only."""
        alone = ["python", "-P", "-c"]
        self.run(*alone, "import prefect_instances.flows.refresh_dataset", PYTHONPATH="")
        refused = self.run(*alone, "import flows", PYTHONPATH="", code=1)
        assert "No module named 'flows'" in refused

    def make(self) -> None:
        """Write a flow, and packages named like folders of this repository; install the wheel."""
        for name in ("flows", "libs", "blocks", "deployments", "cli"):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name / "__init__.py").write_text(f"WHOSE = 'own {name}'\n")
        (self.folder / "flows" / "own.py").write_text(OWN_FLOW)
        (self.folder / "prefect.yaml").write_text(yaml.safe_dump(OWN_DEPLOYMENT))
        _install(self.environment, self.folder.parent / "wheel")


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
