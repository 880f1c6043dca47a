"""Python environments of the peers, made once and kept outside the repository."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_SECONDS = 1200
PINS = {
    "airflow": ("apache-airflow==3.3.2", "psycopg2-binary==2.9.13", "asyncpg==0.32.0"),
    "dagster": ("dagster==1.13.27", "dagster-postgres==0.29.27"),
}
"""What is installed for each peer; its own version is that of the first."""


class Absent(Exception):
    """A peer cannot be installed here; the text says why in one line. It is left out."""


def read_version(peer: str) -> str:
    """Read the version of a peer from its pin."""
    return PINS[peer][0].partition("==")[2]


def find_cache() -> Path:
    """Find the folder that keeps the environments between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "prefect-instances" / "peers"


def make_environment(peer: str, cache: Path | None = None) -> Path:
    """Make the environment of a peer unless it is there; return the folder of its programs.

    Raises Absent if uv is missing or the packages cannot be installed.
    """
    cache = cache or find_cache()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{peer}-{read_version(peer)}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder, PINS[peer])
    return folder / "bin"


def _install(folder: Path, pins: Sequence[str]) -> None:
    complete, wanted = folder / "installed", "\n".join(pins)
    if complete.exists() and complete.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    _run_uv("venv", "--python", sys.executable, str(folder))
    # Compiled at once: else each process of the peer would compile all that it imports.
    target = ("--python", str(folder / "bin" / "python"), "--compile-bytecode")
    _run_uv("pip", "install", *target, *pins)
    complete.write_text(wanted)


def _run_uv(*arguments: str) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise Absent("it is installed by uv, which is not on the path")
    try:
        done = subprocess.run(
            [uv, "--quiet", *arguments],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Absent(f"its packages were not installed within {INSTALL_SECONDS} s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or "uv says nothing"
        raise Absent(f"its packages cannot be installed: {said[:300]}")
