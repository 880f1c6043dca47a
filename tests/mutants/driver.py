"""Apply one small fault at a time to a copy of the tree and see whether the named tests fail.

One process imports the libraries; each fault gets a fork of it, so that a fault costs about what
its tests cost. The product itself is imported in the fork only, from the copy.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300
MEMORY_BYTES = 8 * 2**30
LIBRARIES = (
    "hypothesis",
    "numpy",
    "pandas",
    "polars",
    "scipy.stats",
    "sqlalchemy",
    "pydantic",
    "prefect.flows",
    "prefect.client.orchestration",
    "deltalake",
    "exchange_calendars",
)
CAUGHT, NOT_CAUGHT, BROKEN = "caught", "not caught", "broken"


@dataclass(frozen=True)
class Fault:
    """A small change of meaning in one file, and the tests that should notice it.

    ``old`` stands exactly once in the file; ``tests`` are the words after ``pytest``.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def title(self) -> str:
        """Name the fault in one line."""
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"


def problems_of(faults: tuple[Fault, ...], root: Path = ROOT) -> list[str]:
    """List what no longer fits the tree: each fault by its title, with what is wrong."""
    found = []
    for fault in faults:
        path = root / fault.file
        times = path.read_text().count(fault.old) if path.exists() else 0
        if times != 1:
            found.append(f"{fault.title}: the old text stands {times} times in the file")
        missing = [word for word in fault.tests if "/" in word and not _exists(root, word)]
        found += [f"{fault.title}: {word} does not exist" for word in missing]
    return found


def _exists(root: Path, word: str) -> bool:
    return (root / word.partition("::")[0]).exists()


@contextlib.contextmanager
def scratch_copy(target: Path) -> Iterator[Path]:
    """Copy what git tracks or would track to ``target``; it is removed at the end."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    try:
        yield target
    finally:
        shutil.rmtree(target)


class Copy:
    """A scratch copy of the tree; a file that changes gets a newer time, so that it is compiled."""

    def __init__(self, root: Path) -> None:
        self.root, self._moment = root, int(time.time())

    @contextlib.contextmanager
    def with_fault(self, fault: Fault) -> Iterator[None]:
        """Let the fault be there while the block runs."""
        path = self.root / fault.file
        before = path.read_text()
        self._write(path, before.replace(fault.old, fault.new))
        try:
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, text: str) -> None:
        self._moment += 2
        path.write_text(text)
        os.utime(path, (self._moment, self._moment))


def judge(copy: Copy, fault: Fault) -> str:
    """Run the tests of the fault on the copy.

    Returns ``caught`` if a test fails and ``not caught`` if all pass. It is ``broken`` if pytest
    collects nothing or takes longer than ``PATIENCE_SECONDS``: that shows nothing.
    """
    with copy.with_fault(fault):
        return {0: NOT_CAUGHT, 1: CAUGHT}.get(run_apart(copy.root, fault.tests), BROKEN)


def run_apart(root: Path, tests: tuple[str, ...], patience: float | None = PATIENCE_SECONDS) -> int:
    """Run the tests in a fork of this process; return pytest's code, negative if it was killed."""
    child = multiprocessing.get_context("fork").Process(target=run_tests, args=(root, tests))
    child.start()
    child.join(patience)
    if child.is_alive():
        child.kill()
        child.join()
    return -1 if child.exitcode is None else child.exitcode


def run_tests(root: Path, tests: tuple[str, ...]) -> None:
    """Run the tests in this process, with the product of the copy, and end it with their code."""
    # A fault may be a loop that never ends and fills the memory of the machine.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.chdir(root)
    sys.path[:0] = [str(root / "src"), str(root)]
    os.environ["PYTHONPATH"] = f"{root / 'src'}{os.pathsep}{root}"
    for name in [
        name for name in sys.modules if name.split(".")[0] in {"tests", "prefect_instances"}
    ]:
        del sys.modules[name]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        words = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={root}", *tests]
        code = pytest.main(words)
    os._exit(int(code))


def import_libraries() -> None:
    """Import once what every fork wants."""
    for name in LIBRARIES:
        importlib.import_module(name)
