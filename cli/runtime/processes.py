"""Processes of a home: started in their own session, found again, ended with all children.

Every process is marked in its environment with the home and role that it was started for, and its
children inherit the mark. The mark, not the process id, decides what belongs to the home: ids are
recycled, and a killed parent leaves children that no id file names.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from prefect_instances.cli.runtime.home import Home, write_atomically

MARK = "INSTANCES_RUNTIME"
CREATED_TOLERANCE_SECONDS = 2.0
LOG_LIMIT_BYTES = 20_000_000
WAIT_PAUSE_SECONDS = 0.02

_children: list[subprocess.Popen[bytes]] = []
"""Started processes that run; without a reference, Python warns about a running ``Popen``."""


@dataclass(frozen=True, slots=True)
class Record:
    """The content of one role's process file; ``created`` is in seconds since the epoch."""

    role: str
    pid: int
    created: float


def mark(home: Home, role: str) -> str:
    """Return the value of the environment mark for ``role`` of ``home``."""
    return f"{role}@{home.path.resolve()}"


def record_path(home: Home, role: str) -> Path:
    """Return the file that records the process of ``role``."""
    return home.run / f"{role}.json"


def log_path(home: Home, role: str) -> Path:
    """Return the file that receives the process's output."""
    return home.logs / f"{role}.log"


def start(home: Home, role: str, command: Sequence[str], env: Mapping[str, str]) -> Record:
    """Start ``command`` for ``role`` in its own session and record it.

    It runs in the home, not in the caller's directory, whose ``.env`` or ``prefect.toml`` would
    change how Prefect behaves.
    """
    log = log_path(home, role)
    _rotate(log)
    with log.open("ab") as output, _default_interrupt():
        process = subprocess.Popen(  # noqa: S603  # commands of this package only
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.path,
            env={**env, MARK: mark(home, role)},
            start_new_session=True,
        )
    _collect_ended()
    _children.append(process)
    record = Record(role, process.pid, psutil.Process(process.pid).create_time())
    write_atomically(record_path(home, role), json.dumps(asdict(record)))
    return record


def alive(home: Home, role: str) -> psutil.Process | None:
    """Return the recorded process of ``role`` if it still runs; None otherwise."""
    record = _read_record(record_path(home, role))
    if record is None:
        return None
    try:
        process = psutil.Process(record.pid)
        return process if _is_running(process) and _is_ours(process, home, record) else None
    except psutil.Error:
        return None


def stop(home: Home, role: str, grace_seconds: float) -> bool:
    """End everything that serves ``role``: SIGTERM, then SIGKILL after ``grace_seconds``.

    Returns True if anything was running.
    """
    family = _family(home, role)
    # First, so that a watching command does not take the end for a crash.
    record_path(home, role).unlink(missing_ok=True)
    _signal(family, psutil.Process.terminate)
    wait_for_ends(family, grace_seconds)
    # A process may have started others while it was ending.
    rest = _family(home, role)
    _signal(rest, psutil.Process.kill)
    wait_for_ends(rest, grace_seconds)
    _collect_ended()
    return bool(family)


def wait_for_ends(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all processes have ended, at most ``seconds``, and return those that still run.

    A process has ended even if its exit status has not been collected. Some containers collect the
    status of orphans late or never.
    """
    deadline = time.monotonic() + seconds
    left = [process for process in processes if _is_running_now(process)]
    while left and time.monotonic() < deadline:
        time.sleep(WAIT_PAUSE_SECONDS)
        left = [process for process in left if _is_running_now(process)]
    return left


_REQUEST = re.compile(r'"[A-Z]+ \S+ HTTP/[\d.]+"')
"""Matches a log line of a web server about a request."""


def last_words(home: Home, role: str) -> str:
    """Return the last line that the process printed and the path of its log, for an error.

    Lines about requests are skipped, because they do not say why the process ended.
    """
    log = log_path(home, role)
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        lines = []
    said = [line for line in lines if line and not _REQUEST.search(line)]
    return f"it said {said[-1]!r}, its log is {log}" if said else f"its log is {log}"


def _rotate(log: Path) -> None:
    """Keep one older log file, so that logs never fill the disk."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        os.replace(log, log.with_suffix(".log.1"))


def _collect_ended() -> None:
    """Collect the exit status of our own children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Start child processes with the default handling of SIGINT.

    A shell script starts background commands with SIGINT ignored, and children inherit that. A
    Prefect worker turns SIGTERM into SIGINT, so it could then only be killed.
    """
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read_record(path: Path) -> Record | None:
    """Read the record; None if there is none or it is damaged."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _is_ours(process: psutil.Process, home: Home, record: Record) -> bool:
    """Return True if the process is the recorded one, not a later owner of its id."""
    marked = _mark_of(process)
    if marked is not None:
        return marked == mark(home, record.role)
    return abs(process.create_time() - record.created) < CREATED_TOLERANCE_SECONDS


def _mark_of(process: psutil.Process) -> str | None:
    """Return the process's mark, "" if it has none, None if its environment cannot be read."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get(MARK, "") if environment else None


def _family(home: Home, role: str) -> list[psutil.Process]:
    """Return every running process of ``role``: the recorded one, descendants, all marked."""
    found: dict[int, psutil.Process] = {}
    leader = alive(home, role)
    if leader is not None:
        found = {process.pid: process for process in [leader, *_descendants(leader)]}
    wanted = mark(home, role)
    for process in psutil.process_iter():
        if _mark_of(process) == wanted and _is_running_now(process):
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _is_running_now(process: psutil.Process) -> bool:
    try:
        return _is_running(process)
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    """Signal each process; ignore those that have ended."""
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue
