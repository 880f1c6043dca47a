"""Hypothesis profiles: ``dev`` for a quick answer, ``ci`` for the numbers that are promised.

``CI`` in the environment (or ``HYPOTHESIS_PROFILE``) chooses. Both draw new examples every time;
the seed is printed in the header, and ``--hypothesis-seed`` repeats a run.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.prefect_server", "tests.databases")

SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "dev",
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
)
settings.register_profile(
    "ci",
    max_examples=500,
    stateful_step_count=50,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=SLOW_IS_FINE,
)

PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed here, so that every failure of the session can be repeated from its log."""
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbits(32))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a Prefect server runs in one test process, so that there is one a session."""
    for item in items:
        if "prefect_environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("server"))
        elif item.path.name == "test_runtime.py":
            item.add_marker(pytest.mark.xdist_group("runtime"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts that tests recorded, whichever process ran them."""
    for report in (report for kind in terminalreporter.stats.values() for report in kind):
        if getattr(report, "when", "") == "call":
            for name, value in report.user_properties:
                if name == "counts":
                    terminalreporter.write_line(value)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to draw the same examples again."""
    return f"hypothesis: profile {PROFILE}, --hypothesis-seed={config.option.hypothesis_seed}"
