"""What a measured system can do, and what the two peers have in common."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psutil
import psycopg

from benchmarks.peers import projects
from benchmarks.peers.graphs import Upstreams
from benchmarks.peers.programs import Programs, serve_postgres, with_children
from benchmarks.peers.records import BodyRun, Commits, parse_log

PROJECTS = Path(projects.__file__).parent


class System(Protocol):
    """Ours or a peer; it runs from ``running`` on, with all assets of the graphs."""

    @property
    def title(self) -> str:
        """Its name and version."""

    def running(self, upstreams: Upstreams) -> AbstractContextManager[None]:
        """Start it on these assets; end all its processes at the end."""

    def refresh(self, root: str) -> None:
        """Ask for a new output of a root; returns before its descendants have run."""

    def runs(self, since: float) -> list[BodyRun]:
        """Return the recorded runs that committed after an instant, in seconds of the epoch."""

    def processes(self) -> list[psutil.Process]:
        """Return every process of it that is alive, its database included."""


@dataclass
class Peer:
    """A peer with a project folder and a PostgreSQL server of its own.

    ``programs`` is the folder of the programs of its environment. Subclasses say how to start it
    (``_serve``), what to set, and the query that lists asset, run and time of each commit
    since an instant.
    """

    bin: Path
    folder: Path
    socket: str = ""
    assets: tuple[str, ...] = ()
    _database: list[psutil.Process] = field(default_factory=list)

    name = ""
    commits_query = ""

    @cached_property
    def programs(self) -> Programs:
        """Its programs; they read ``environment`` when the first of them starts."""
        return Programs(self.folder, self.environment())

    def environment(self) -> dict[str, str]:
        """Return its settings as environment variables."""
        raise NotImplementedError

    def serve(self) -> None:
        """Start its programs and wait until they know the assets."""
        raise NotImplementedError

    @contextmanager
    def running(self, upstreams: Upstreams) -> Iterator[None]:
        """Start the database and the programs for these assets, and end them after the block."""
        self.assets = tuple(upstreams)
        self._write_project(upstreams)
        with serve_postgres(self.folder / "pg", self.name) as (self.socket, self._database):
            try:
                self.serve()
                yield
            finally:
                self.programs.stop()

    def runs(self, since: float) -> list[BodyRun]:
        """Return what the log of the bodies and the peer's own records say."""
        log = self.folder / "log.jsonl"
        commits = self._read_commits(since)
        with log.open() as lines:
            return parse_log(lines, commits)

    def processes(self) -> list[psutil.Process]:
        """Return its programs and its PostgreSQL."""
        return [*self.programs.processes(), *with_children(self._database)]

    def read(self, query: str, since: float) -> list[tuple[Any, ...]]:
        """Ask the peer's database for what happened after an instant."""
        address = f"postgresql://postgres:@/{self.name}?host={self.socket}"
        with psycopg.connect(address) as connection:
            return connection.execute(query.encode(), [since]).fetchall()

    def _read_commits(self, since: float) -> Commits:
        rows = self.read(self.commits_query, since)
        return {(name, run): float(at) for name, run, at in rows}

    def _write_project(self, upstreams: Upstreams) -> None:
        (self.folder / "values").mkdir(parents=True, exist_ok=True)
        (self.folder / "log.jsonl").touch()
        for path in PROJECTS.glob("*.py"):
            if path.stem != "__init__":
                shutil.copy(path, self.folder)
        graph = {name: list(read) for name, read in upstreams.items()}
        (self.folder / "graph.json").write_text(json.dumps(graph))
