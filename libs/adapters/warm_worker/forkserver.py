"""Forkserver: imports modules once and forks a child for every job that its worker asks for.

It runs as ``python -P -m prefect_instances.libs.adapters.warm_worker.forkserver FD [MODULE ...]``
and speaks JSON lines over the inherited socket ``FD``. It gets jobs (`Job`) and
``{"retire": true}``, and answers

* ``{"ready": {path: mtime_ns}}`` once: what it loaded, for the worker to see when that changed;
* ``{"started": job id, "pid": int}``, or ``"pid": null`` where it no longer takes jobs;
* ``{"ended": pid, "status": exit code, negative for a signal}``.

A job of the kind ``server`` makes the child another forkserver, with more modules. It speaks over a
connection of its own, to the address in the job, and has what its parent imported.

It is single-threaded, because a fork copies only the forking thread. When the socket closes the
worker is gone: the children are then ended, because nothing could cancel or account for them.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn
from uuid import UUID

from prefect_instances.libs.adapters.prefect import handover, suspension

ENGINE = (
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.events.clients",
    "prefect._internal.observers",
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "encodings.idna",
    "rich._emoji_codes",
)
"""Modules that are always preloaded: every run imports them, some of them late."""

HEARTBEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
"""Variable with the seconds between Prefect's heartbeats of a run, if they are wanted."""

SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")
"""Files in a working directory from which Prefect reads settings."""

ABANDONED_GRACE_SECONDS = 10.0
"""Time that children get to end when the worker is gone."""

SERVER_GRACE_SECONDS = ABANDONED_GRACE_SECONDS + 5.0
"""Time that a forkserver gets to end when the worker is gone: its children have theirs first."""

RECEIVE_BYTES = 65536
WAKEUP_BYTES = 512
POOL_THREAD = re.compile(r"polars-\d|tokio-rt|rayon")
"""Threads of native pools, which a fork loses although their library relies on them."""

logger = logging.getLogger("prefect.warm_worker.forkserver")


@dataclass(frozen=True, slots=True)
class ForkJob:
    """One fork: run a flow run, or its hooks after its own process died or was cancelled.

    ``env`` is the whole environment of the child, ``cwd`` its working directory; ``quiet`` keeps
    its output out of the worker's. ``flow_run`` is the run's document (JSON) as the worker has read
    it; without it the child asks the server.

    A ``server`` uses only ``modules``, which it imports, and ``address``, the path of the worker's
    socket.
    """

    id: str
    kind: Literal["run", "on_crashed_hooks", "on_cancellation_hooks", "server"]
    flow_run_id: str = ""
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    quiet: bool = False
    flow_run: str = ""
    modules: Sequence[str] = ()
    address: str = ""


class ForkServer:
    """The loop over the worker's requests and the children's ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._children: set[int] = set()
        self._servers: set[int] = set()
        self._retiring = False
        self._buffer = b""
        self._wakeup, self._wakeup_writer = os.pipe()

    def serve(self) -> ForkJob | None:
        """Serve requests until the worker retires this server or ends.

        Returns None in the server itself, and in a forked child the job that it has to do.
        """
        self._watch_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ, self._receive)
            selector.register(self._wakeup, selectors.EVENT_READ, self._reap)
            while self._children or not self._retiring:
                for key, _ in selector.select():
                    job: ForkJob | None = key.data()
                    if job is not None:
                        return job
        return None

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._connection.fileno()

    def announce(self, loaded: dict[str, int | None]) -> None:
        """Report to the worker that the server is ready, with the files that it loaded."""
        self._send({"ready": loaded})

    def _watch_signals(self) -> None:
        for descriptor in (self._wakeup, self._wakeup_writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._retire)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(suspension.SIGNAL, signal.SIG_IGN)  # until the child of a run listens

    def _retire(self, *_: object) -> None:
        self._retiring = True

    def _receive(self) -> ForkJob | None:
        """Handle the worker's messages; in a forked child return the job to do."""
        data = self._connection.recv(RECEIVE_BYTES)
        if not data:
            self._end_children()
            raise SystemExit(0)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "retire" in request:
                self._retire()
            elif (job := self._fork(ForkJob(**request))) is not None:
                return job
        return None

    def _fork(self, job: ForkJob) -> ForkJob | None:
        """Fork; return the job in the child, None in the server."""
        if self._retiring:
            self._send({"started": job.id, "pid": None})
            return None
        # Block signals until the child has its own handlers, so that none is lost.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        pid = os.fork()
        if pid == 0:
            self._leave()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return job
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _own_group(pid)
        self._children.add(pid)
        if job.kind == "server":
            self._servers.add(pid)
        self._send({"started": job.id, "pid": pid})
        return None

    def _leave(self) -> None:
        """In the child: remove the server's handlers, descriptors and other state."""
        _own_group(0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._connection.close()
        os.close(self._wakeup)
        os.close(self._wakeup_writer)

    def _reap(self) -> None:
        """Report every child that ended, and kill the remains of its process group."""
        try:
            os.read(self._wakeup, WAKEUP_BYTES)
        except BlockingIOError:
            return
        for pid in tuple(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _signal_group(pid, signal.SIGKILL)
                self._children.discard(pid)
                self._servers.discard(pid)
                self._send({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _end_children(self) -> None:
        """End all children; give them time to report their crash themselves.

        Forkservers lose the worker too and end their own children, in the same time.
        """
        began = time.monotonic()
        for pid in self._children - self._servers:
            _signal_group(pid, signal.SIGTERM)
        while self._children:
            waited = time.monotonic() - began
            if waited > ABANDONED_GRACE_SECONDS:
                spared = self._servers if waited < SERVER_GRACE_SECONDS else set()
                for pid in self._children - spared:
                    _signal_group(pid, signal.SIGKILL)
            time.sleep(0.02)
            self._children = {pid for pid in self._children if not os.waitpid(pid, os.WNOHANG)[0]}

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            # The worker is gone; the closed connection is seen by the next read.
            logger.debug("The worker is gone", exc_info=True)


def preload(modules: Iterable[str]) -> None:
    """Import modules, all those of a package for ``package.*``; call ``module:function``.

    A failure is only reported: the runs that need the module will fail with their own error.
    """
    for name in modules:
        try:
            path, _, function = name.partition(":")
            module = importlib.import_module(path.removesuffix(".*"))
            if function:
                getattr(module, function)()
        except Exception:
            logger.warning("Module %r could not be preloaded", name, exc_info=True)
            continue
        if name.endswith(".*"):
            found = pkgutil.iter_modules(module.__path__, f"{module.__name__}.")
            preload(one.name for one in found if not one.name.endswith("__main__"))


@contextmanager
def disable_heartbeats() -> Iterator[None]:
    """Run flows without Prefect's heartbeats, unless the environment asks for them.

    The first heartbeat comes at the start of a run, repeats the state just reported, and reads four
    documents from the server. The worker reports dead children; leases end silent runs.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if HEARTBEAT_VARIABLE in os.environ:
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


_quiet = ExitStack()
"""Prefect's settings without heartbeats: children inherit them, for making them takes 30 ms."""


def index_packages() -> None:
    """Index the installed packages before forking, which saves each run 50 ms."""
    importlib.metadata.entry_points()


def list_fork_hazards() -> list[str]:
    """Return the threads whose loss would hang forked children; empty if forking is safe."""
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return others
    native = [(task / "comm").read_text().strip() for task in tasks.iterdir()]
    return others + [name for name in native if POOL_THREAD.match(name)]


def list_loaded_files() -> dict[str, int | None]:
    """Return the change times (ns) of loaded project files, package directories and settings."""
    from prefect.settings import get_current_settings

    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    installed = packages | {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    prefixes = tuple(f"{path}{os.sep}" for path in installed)
    files = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    project = {file for file in files if file and not file.startswith(prefixes)}
    settings = {str(get_current_settings().profiles_path)}
    return {path: read_modified_time(path) for path in project | packages | settings}


def read_modified_time(path: str) -> int | None:
    """Return the change time of a file (ns), None if it does not exist."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return None


def conclude(job: ForkJob) -> NoReturn:
    """Do the job and exit as Python does, but without finalizing the interpreter.

    That takes 50 ms and may wait for native threads that the fork did not copy.
    """
    status: object = 1
    try:
        perform(job)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 - the last one to see it
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined] # what `multiprocessing` does in its forks
    atexit._run_exitfuncs()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status if isinstance(status, int) else 1)


def perform(job: ForkJob) -> None:
    """Do the job in this process, a fresh child; may end with `SystemExit`, as the engine does."""
    os.environ.clear()
    os.environ.update(job.env)
    time.tzset()
    os.chdir(job.cwd)
    sys.path.insert(0, job.cwd)
    if job.quiet:
        _silence()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    _take_local_settings()
    if job.kind == "run":
        suspension.listen()
        if job.flow_run:
            handover.hand_over(job.flow_run)
        engine = sys.modules["prefect.engine"].__file__ or ""
        sys.argv = [engine, job.flow_run_id]
        runpy.run_path(engine, run_name="__main__")
    else:
        run_hooks(UUID(job.flow_run_id), job.kind)


def run_hooks(flow_run_id: UUID, kind: str) -> None:
    """Call the flow's hooks of one kind as Prefect's own workers do: by keyword, all of them."""
    from prefect.flow_engine import load_flow, load_flow_run
    from prefect.logging.loggers import flow_run_logger

    flow_run = load_flow_run(flow_run_id)
    flow = load_flow(flow_run)
    for hook in getattr(flow, kind):
        log, name = flow_run_logger(flow_run, flow), getattr(hook, "__name__", repr(hook))
        log.info("Running hook %r in state %r", name, flow_run.state and flow_run.state.name)
        try:
            result = hook(flow=flow, flow_run=flow_run, state=flow_run.state)
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception:
            log.exception("Hook %r failed", name)


def main() -> None:
    """Preload, serve, and in each forked child perform its job."""
    from prefect_instances.libs.adapters.prefect.patches import RUN_PATCHES, apply_patches

    descriptor, modules = int(sys.argv[1]), sys.argv[2:]
    gc.disable()  # Imports make no garbage, and looking for it takes a sixth of their time.
    preload(ENGINE)
    apply_patches(RUN_PATCHES)
    _quiet.enter_context(disable_heartbeats())
    handover.build_models()
    index_packages()
    job = serve(ForkServer(socket.socket(fileno=descriptor)), modules)
    while job is not None and job.kind == "server":
        job = serve(ForkServer(connect(job.address)), job.modules)
    if job is not None:
        conclude(job)


def serve(server: ForkServer, modules: Sequence[str]) -> ForkJob | None:
    """Import the modules, then serve; return what `ForkServer.serve` returns."""
    gc.disable()
    preload(modules)
    if modules and (hazards := list_fork_hazards()):
        logger.error(
            "Nothing is preloaded, because importing %s started threads: %s", modules, hazards
        )
        os.set_inheritable(server.fileno(), True)
        command = [sys.executable, "-P", "-m", __spec__.name, str(server.fileno())]
        os.execv(sys.executable, command)  # noqa: S606 - anew, without a shell
    gc.collect()
    gc.freeze()
    gc.enable()
    server.announce(list_loaded_files())
    return server.serve()


def connect(address: str) -> socket.socket:
    """Connect to the worker's socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


def _own_group(pid: int) -> None:
    """Make a child the leader of a group; parent and child both call it, in either order."""
    try:
        os.setpgid(pid, pid)
    except (PermissionError, ProcessLookupError):
        logger.debug("Process %s is gone or has its group already", pid)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (PermissionError, ProcessLookupError):
        logger.debug("Process group %s has ended", pid)


def _take_local_settings() -> None:
    """Reload the settings if they differ: the server has those of the job's environment."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    if any(os.path.exists(name) for name in SETTINGS_FILES):
        _quiet.close()
        refresh_global_settings_context()
        setup_logging(incremental=False)
        _quiet.enter_context(disable_heartbeats())


def _silence() -> None:
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    main()
