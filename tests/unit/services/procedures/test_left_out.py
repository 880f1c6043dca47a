"""What the default suite leaves out is said, once, however many workers there are."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest

from tests.conftest import LeftOut


def summary(left_out: LeftOut) -> str:
    """What stands at the end of a session's summary."""
    written = StringIO()
    left_out.pytest_terminal_summary(pytest.TerminalReporter(left_out.config, written))
    return written.getvalue()


def test_thorough_tests_that_are_left_out_are_counted(request: pytest.FixtureRequest) -> None:
    left_out = LeftOut(request.config)
    left_out.pytest_deselected([request.node])
    assert summary(left_out) == ""

    request.node.add_marker("thorough")
    left_out.pytest_deselected([request.node])

    assert summary(left_out).startswith("left out: 1 thorough tests; ")


def test_what_every_worker_left_out_is_counted_once(request: pytest.FixtureRequest) -> None:
    left_out = LeftOut(request.config)
    for _ in range(2):
        left_out.pytest_testnodedown(SimpleNamespace(workeroutput={"left_out": {"thorough": 3}}))

    assert summary(left_out).startswith("left out: 3 thorough tests; ")
