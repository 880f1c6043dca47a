"""The command line without its start: commands are forked from a process that imported it once.

``python -m tests.e2e.warm_cli`` is that process. It reads one command a line, each a JSON document,
and answers each with its exit code. Its home is told on the first line rather than by its
environment: so it is not among the processes that belong to the home, and survives with them.
"""

from __future__ import annotations

import json
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock

import httpx

from tests.certificates import share_certificates

PRELOADED = (
    "prefect_instances.cli.app",
    "prefect_instances.libs.wiring",
    "prefect.client.orchestration",
    "polars",
)


class WarmCommandLine:
    """Runs ``instances`` as often as it is asked to, with the environment it was made with."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = Lock()
        own = {name: text for name, text in environment.items() if name != "INSTANCES_HOME"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.warm_cli"],
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ask({"home": environment["INSTANCES_HOME"]}, 120)

    def run(self, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; raise TimeoutExpired where that takes longer."""
        with self._lock, tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            command = {"arguments": list(arguments), "out": str(out), "err": str(err)}
            code = self._ask(command, seconds)
            return subprocess.CompletedProcess(
                list(arguments), code, out.read_text(), err.read_text()
            )

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _ask(self, document: Mapping[str, object], seconds: float) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(document).encode() + b"\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], seconds)
        if not ready:
            self._process.kill()
            raise subprocess.TimeoutExpired(str(document), seconds)
        return int(stdout.readline())


def serve() -> None:
    """Answer until there is nothing to read any more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.environ["INSTANCES_HOME"] = json.loads(sys.stdin.readline())["home"]
    for name in PRELOADED:
        import_module(name)
    commands = import_module("prefect_instances.cli.commands")
    for module in pkgutil.iter_modules(commands.__path__, "prefect_instances.cli.commands."):
        import_module(module.name)
    share_certificates()
    httpx.Client().close()
    print(0, file=answers)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers)


def _become(command: Mapping[str, object]) -> None:
    """Run the command in this process, which ends with it."""
    from prefect_instances.cli.app import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(str(command[name]), os.O_WRONLY | os.O_CREAT), number)
    arguments = command["arguments"]
    assert isinstance(arguments, list)
    sys.argv = ["instances", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve()
