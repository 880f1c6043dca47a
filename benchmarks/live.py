"""A home of its own with a real server and worker, started when a subject first asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import yaml

if TYPE_CHECKING:
    from prefect_instances.libs.services.state.context import Services

BIN = Path(sys.executable).parent
COMMAND_SECONDS = 900
Found = TypeVar("Found")


class CannotMeasure(Exception):
    """Something that a subject needs did not happen: the benchmark fails."""


@dataclass
class Live:
    """Started at the first use of ``services`` or ``apply``; ``close`` ends and removes it."""

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")))
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment without any other server or home in it.

        Byte code is kept, whatever the caller does: each process would compile everything anew.
        """
        others = ("PREFECT_", "INSTANCES_", "PYTHONDONTWRITEBYTECODE")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        return {**kept, **quiet, "INSTANCES_HOME": str(self.home)}

    @cached_property
    def services(self) -> Services:
        """Services of this process over the home; starts server and worker."""
        self.cli("up", "--detach")
        self._stack.callback(self.cli, "down")
        from prefect_instances.libs.settings import load_settings
        from prefect_instances.libs.wiring import connect

        return self._stack.enter_context(connect(load_settings(home=self.home)))

    def cli(self, *arguments: str) -> str:
        """Run ``instances``; what it printed."""
        done = subprocess.run(
            [str(BIN / "instances"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise CannotMeasure(f"instances {arguments[0]}: {done.stderr.strip()[-800:]}")
        return done.stdout

    def apply(
        self, project: str, instances: Sequence[Mapping[str, Any]], *, wait: bool = True
    ) -> None:
        """Apply a manifest, and with ``wait`` wait until all of it is READY."""
        assert self.services
        path = self.home / f"{project}.yaml"
        path.write_text(yaml.safe_dump({"project": project, "instances": list(instances)}))
        self.cli("apply", "-f", str(path), *(["--wait"] if wait else []))

    @contextmanager
    def worker(self, pool: str) -> Iterator[None]:
        """Prefect's own process worker on a pool of that name."""
        api = self.services.prefect.api_url
        command = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--type", "process"]
        environment = {
            **self.environment,
            "PREFECT_API_URL": api,
            "PREFECT_HOME": str(self.home / "plain"),
        }
        with (self.home / "plain.log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def processes(self, role: str) -> list[psutil.Process]:
        """The process of a role, ``server`` or ``worker``, and its descendants."""
        from prefect_instances.cli.runtime import processes
        from prefect_instances.cli.runtime.home import Home

        root = processes.alive(Home(self.home), role)
        return [root, *root.children(recursive=True)] if root else []

    def close(self) -> None:
        """End everything and remove the home."""
        self._stack.close()
        shutil.rmtree(self.home, ignore_errors=True)


def eventually(look: Callable[[], Found], seconds: float, what: str) -> Found:
    """The first truthy answer of ``look``; CannotMeasure after some seconds without one."""
    until = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > until:
            raise CannotMeasure(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)
    return found


def source(name: str, path: Path) -> dict[str, Any]:
    """A dataset on a CSV file of two rows, so that runs are all overhead; see ``new_day``."""
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
    }


def derived(name: str, *upstreams: str, pool: str = "") -> dict[str, Any]:
    """A dataset that doubles the first of its upstreams."""
    return {
        "name": name,
        "type": "DatasetInstance",
        "pipeline": {"definition": "expression", "config": {"expression": "value * 2"}},
        "upstream_refs": [{"resource": up, "role": f"input{i}"} for i, up in enumerate(upstreams)],
        **({"work_pool": pool} if pool else {}),
    }


def new_day(path: Path) -> None:
    """Give a source data that it did not have before."""
    value = time.time()
    path.write_text(f"date,symbol,value\n2022-01-03,AAA,1.0\n2022-01-04,AAA,{value}\n")
