"""Say what each test file costs: ``pytest --costs`` prints CPU seconds by file, highest first.

Fixtures are included. Seconds on the clock say little on a busy machine.

With several test processes they are those of the test process, of the children that it waited for
and of the servers that it runs. Processes that left their parent, as those of a home do, are not
counted. With one (``-n 0``) they are those of the whole machine, on which nothing else should run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator

import psutil
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--costs", action="store_true", help="Print CPU seconds by test file.")


def pytest_configure(config: pytest.Config) -> None:
    """Count only if somebody asks."""
    if config.getoption("--costs"):
        config.pluginmanager.register(Costs(config), "costs")


class Costs:
    """Counts CPU seconds by file, on every worker, and prints the sums."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.seconds = config, Counter[str]()
        alone = os.environ.get("PYTEST_XDIST_WORKER") is None
        self.count = count_machine if alone else count_family

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Count one test with its fixtures."""
        before = self.count()
        result = yield
        self.seconds[item.nodeid.partition("::")[0]] += self.count() - before
        return result

    def pytest_sessionfinish(self) -> None:
        """Tell the controller, where this is a worker."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["costs"] = dict(self.seconds)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Add what a worker counted."""
        self.seconds.update(getattr(node, "workeroutput", {}).get("costs", {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the files, the most expensive first."""
        for file, seconds in self.seconds.most_common():
            terminalreporter.write_line(f"{seconds:8.1f} s CPU  {file}")


def count_machine() -> float:
    """Return user and system seconds of this machine since it booted."""
    times = psutil.cpu_times()
    return times.user + times.system


def count_family() -> float:
    """Return user and system seconds of this process and its children, ended and running."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
