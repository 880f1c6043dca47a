"""Begin no more tests when a time is over, and say which were left out.

``TEST_MINUTES=40`` gives a session forty minutes, beginning with its start. A test that runs then
goes on to its end. For a check that is stopped from outside after some time.
"""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest

VARIABLE = "TEST_MINUTES"


def pytest_configure(config: pytest.Config) -> None:
    """Limit the time only if somebody asks."""
    minutes = os.environ.get(VARIABLE)
    if minutes:
        # Workers start later than their controller, which is what has the time.
        told = getattr(config, "workerinput", {}).get("until")
        until = told or time.time() + 60 * float(minutes)
        config.pluginmanager.register(TimeLimit(minutes, until), "time-limit")


class TimeLimit:
    """Skips what would begin after ``until``, in seconds of the epoch; counts it by file."""

    def __init__(self, minutes: str, until: float) -> None:
        self.reason, self.until = f"{VARIABLE}={minutes} are over", until
        self.skipped = Counter[str]()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Tell a worker of xdist when the time is over."""
        node.workerinput["until"] = self.until  # type: ignore[attr-defined]  # xdist has no types

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Skip a test that would begin too late."""
        if time.time() > self.until:
            pytest.skip(self.reason)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what was skipped for this reason."""
        if report.skipped and self.reason in str(report.longrepr):
            self.skipped[report.nodeid.partition("::")[0]] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it at the end, where people look."""
        if self.skipped:
            files = ", ".join(f"{file} ({count})" for file, count in sorted(self.skipped.items()))
            terminalreporter.write_line(
                f"left out because {self.reason}: {self.skipped.total()} tests: {files}"
            )
