"""What people type and terminals cannot show: one line, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from prefect_instances.cli.app import LOOPBACK, _reach_loopback
from prefect_instances.cli.commands.runs import InFuture, require_past
from prefect_instances.flows.execution_run import read_identity
from prefect_instances.libs.core.errors import Problem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_terminal_without_unicode_gets_escapes() -> None:
    code = "from prefect_instances.cli import app; app._print_anything(); print('a → b \\udcff')"

    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=False,
    )

    assert (said.stdout, said.stderr) == (b"a \\u2192 b \\udcff\n", b"")


def test_loopback_is_never_proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com,localhost")
    monkeypatch.setenv("no_proxy", "")

    _reach_loopback()

    assert os.environ["NO_PROXY"] == "example.com,localhost,127.0.0.1,::1"
    assert os.environ["no_proxy"] == ",".join(LOOPBACK)


@pytest.mark.parametrize("day", ["2026-03-02", "2026-02-01"])
def test_a_day_that_has_begun_somewhere_is_no_future(day: str) -> None:
    require_past(date.fromisoformat(day), NOW)
    require_past(None, NOW)


def test_a_run_as_of_a_future_day_is_refused() -> None:
    with pytest.raises(InFuture, match="--as-of 2026-03-03 is in the future"):
        require_past(date(2026, 3, 3), NOW)


def test_a_parameter_that_is_no_id_is_a_problem() -> None:
    found = read_identity("opening", "12")

    assert isinstance(found, Problem)
    assert str(found).startswith("opening: '12' is no id")
    assert read_identity("opening", "") is None
    assert isinstance(read_identity("instance", ""), Problem)
    assert read_identity("instance", str(UUID(int=1))) == UUID(int=1)
