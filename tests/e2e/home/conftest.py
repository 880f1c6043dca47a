"""One running home for all tests of this folder, and one on PostgreSQL for those that ask for it.

A home ends when its worker goes on to another folder: it works all the time, also if nobody wants
anything of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Postgres
from tests.e2e.demonstration import Shown, list_kept_files, purge_and_see_nothing_left
from tests.e2e.stack import Stack, settings_of_others
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
    running = Stack(home, url, settings_of_others(home))
    running.up()
    yield running
    running.down()
    assert not running.processes(), "down left processes behind"
    assert "Nothing is preloaded" not in (home / "logs" / "worker.log").read_text()


@pytest.fixture(scope="package")
def shown(stack: Stack) -> Iterator[Shown]:
    """The demonstration in the home; at its end it is purged."""
    before = list_kept_files(stack.home)
    said = stack.cli("demo", "--keep", code=None, seconds=400)
    joint = stack.runs("relative_momentum")
    assert list_kept_files(stack.home) - before
    yield Shown(said, stack.statuses("demo"), joint, stack.api_url)
    purge_and_see_nothing_left(stack, before)


@pytest.fixture(scope="package")
def demo(stack: Stack, shown: Shown) -> Stack:
    """The home with the demonstration in it."""
    assert shown.said.code == 0, shown.said
    return stack
