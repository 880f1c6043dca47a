"""The empty body of an asset: it only notes which refreshes of its root it descends from.

An asset reads what its upstreams wrote last, one small file for each, and leaves one line in a log.
It is copied beside the project of a peer and needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = "PEERS_FOLDER"
"""Environment variable that names the folder of the graphs, values and log."""


def read_graph() -> dict[str, list[str]]:
    """Read the upstreams of each asset, by its name."""
    found: dict[str, list[str]] = json.loads((_folder() / "graph.json").read_text())
    return found


def run_body(name: str, upstreams: Sequence[str], run: str) -> None:
    """Note begin and end (seconds since the epoch) and the refreshes that the inputs come from.

    A root is a new refresh, which its run identifies.
    """
    began = time.time()
    read = [value for upstream in upstreams for value in _read(upstream)]
    origins = sorted(set(read)) if upstreams else [run]
    _write(name, origins)
    line = {"name": name, "run": run, "began": began, "ended": time.time(), "origins": origins}
    with (_folder() / "log.jsonl").open("a") as log:
        # One write below the size of a pipe's buffer: lines of parallel processes stay whole.
        log.write(json.dumps(line) + "\n")


def _read(name: str) -> list[str]:
    path = _folder() / "values" / name
    found: list[str] = json.loads(path.read_text()) if path.exists() else []
    return found


def _write(name: str, origins: Sequence[str]) -> None:
    values = _folder() / "values"
    temporary = values / f".{name}.{os.getpid()}"
    temporary.write_text(json.dumps(origins))
    temporary.replace(values / name)


def _folder() -> Path:
    return Path(os.environ[FOLDER])
