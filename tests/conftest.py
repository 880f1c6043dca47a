"""What every test session has: Hypothesis profiles, markers, and which worker runs which test.

``HYPOTHESIS_PROFILE`` chooses the profile, as make.py does: ``quick`` while writing, ``dev`` for
the default, ``ci`` for the numbers that are promised. All draw new examples every time; the seed is
printed in the header, and ``--hypothesis-seed`` repeats a run.
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.calendars import share_holidays
from tests.certificates import share_certificates

# There is a test process on each core: a thread of OpenMP that waits by spinning takes the core of
# another. To be set before scikit-learn is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A session starts hundreds of processes: what they have in common is compiled once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
share_certificates()
share_holidays()

pytest_plugins = (
    "tests.prefect_server",
    "tests.databases",
    "tests.centrifugo.fixtures",
    "tests.model_servers",
    "tests.costs",
    "tests.time_limit",
    "tests.shuffled",
)

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "quick",
    max_examples=10,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
)
settings.register_profile(
    "dev",
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
)
settings.register_profile(
    "ci",
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=SLOW_IS_FINE,
)

PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or "dev"
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed here, so that every failure of the session can be repeated from its log."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbits(32))
    config.pluginmanager.register(LeftOut(config), "left-out")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Keep what is imported and collected out of garbage collections: it lasts for the session.

    From then on the collector looks ten times less often than by default.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(7_000, 10, 10)
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let every other worker collect from the end, so that each compiles half of a fresh clone.

    What one has compiled when they meet, the other reads. The tests are sorted again below.
    """
    report = yield
    if isinstance(collector, pytest.Directory) and WORKER % 2:
        report.result.reverse()
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort what was collected, and mark what wants a server: nobody has to remember to."""
    roots = [str(Path(argument.partition("::")[0]).absolute()) for argument in config.args]
    items.sort(key=lambda item: _find_place(roots, item.path))
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if "postgresql" in item.name or names & SERVER_FIXTURES:
            item.add_marker("server")


def _find_place(roots: list[str], path: Path) -> tuple[int, tuple[str, ...]]:
    """Where a file comes: by the argument that names it, then by its path."""
    at = (number for number, root in enumerate(roots) if path.is_relative_to(root))
    return next(at, len(roots)), path.parts


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Number of this test process."""

SERVER_FIXTURES = {"prefect_environment", "prefect_template", "stack", "postgres"}


class LeftOut:
    """Counts what a marker expression left out, on every worker, and says so in one line."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.counts = config, Counter[str]()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count on a worker, or where there are none."""
        self.counts["thorough"] += sum(1 for item in items if item.get_closest_marker("thorough"))

    def pytest_sessionfinish(self) -> None:
        """Tell the controller, where this is a worker."""
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["left_out"] = dict(self.counts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Every worker collects the same, so that the counts of one are those of all."""
        self.counts |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it at the end, where people look."""
        if self.counts["thorough"]:
            terminalreporter.write_line(
                f"left out: {self.counts['thorough']} thorough tests; "
                "`python3 make.py test --all` runs them"
            )


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Spread the files over the workers, but keep together what shares a home."""
    return SharedServers(config, log)


class SharedServers(LoadScopeScheduling):
    """The tests of a file, and those around one home, on one worker.

    What a file imports, caches and starts is so paid for once: a library, the calendar of an
    exchange, a module's server. Each worker starts a Prefect server when a test first asks for it.
    Homes are slower to start: there are two, so that two workers wait at the same time; those who
    wait longest, for leases and schedules, share one. xdist's own groups are lost on the way to the
    workers with pytest 9.2, hence by name.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, case = nodeid.partition("::")
        if file.endswith(LONG_AND_ALONE):
            return nodeid
        if file.endswith(MANY_PROCESSES):
            return "many processes"
        if file.endswith(MODEL_SERVERS):
            return "model servers"
        where = " on postgresql" if "postgresql" in case else ""
        if file.startswith("tests/e2e/home/"):
            return f"home{where or (' with faults' if file.endswith(FAULTS) else '')}"
        return f"{file}{where}" if file.endswith(LONG_ON_EACH_DATABASE) else file


MANY_PROCESSES = ("test_demo_on_s3.py", "test_fault_rounds.py", "test_several_hosts.py")
"""Files whose tests fill the machine by themselves: one after the other they are in time."""
MODEL_SERVERS = ("test_evidently.py", "test_mlflow.py", "test_model_servers.py")
"""Files whose tests use the same servers of MLflow and Evidently."""
LONG_ON_EACH_DATABASE = ("test_gate_machine_sql.py", "test_nothing_is_lost.py")
LONG_AND_ALONE = ("test_expression_operators.py",)
"""Files whose tests share nothing and take about a minute with the examples of ``ci``."""
FAULTS = ("test_backfill.py", "test_cascade.py", "test_faults.py", "test_freshness.py")


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to draw the same examples again."""
    return f"hypothesis: profile {PROFILE}, --hypothesis-seed={config.option.hypothesis_seed}"
