"""One running home for all tests of this folder, and one on PostgreSQL for those that ask for it.

A home ends when its worker goes on to another folder: it works all the time, also if nobody wants
anything of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Postgres
from tests.e2e.stack import Stack
from tests.prefect_server import DATABASE, begin_migrated


@pytest.fixture(scope="package", params=["sqlite"])
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_template: Path,
) -> Iterator[Stack]:
    """A home with its server and worker; what the services send is tested on both databases."""
    url = ""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create()
    home = tmp_path_factory.mktemp(f"home-{request.param}")
    begin_migrated(home / "prefect" / DATABASE, prefect_template)
    running = Stack(home, url)
    running.up()
    yield running
    running.down()
    assert not running.processes(), "down left processes behind"
    assert "Nothing is preloaded" not in (home / "logs" / "worker.log").read_text()
