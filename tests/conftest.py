"""Hypothesis profiles: ``dev`` for a quick answer, ``ci`` for the numbers that are promised.

``CI`` in the environment (or ``HYPOTHESIS_PROFILE``) chooses. Both draw new examples every time;
the seed is printed in the header, and ``--hypothesis-seed`` repeats a run.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

pytest_plugins = (
    "tests.prefect_server",
    "tests.databases",
    "tests.centrifugo.fixtures",
    "tests.model_servers",
)

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


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Spread the files over the workers, but keep together what shares a home."""
    return SharedServers(config, log)


class SharedServers(LoadScopeScheduling):
    """Tests by themselves; those of a file that wants a server, or around one home, on one worker.

    Each worker starts a Prefect server once, when a test first asks for it; a home, which is slower
    to start, is started once in all. xdist's own groups are lost on the way to the workers with
    pytest 9.2, hence by name.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, case = nodeid.partition("::")
        if file.startswith("tests/integration/") or file.endswith(SERVER_FILES):
            return file
        if file.startswith("tests/e2e/"):
            return "home on postgresql" if "postgresql" in case else "home on sqlite"
        return nodeid


SERVER_FILES = (
    "test_blocks.py",
    "test_warm_worker.py",
    "test_adapter_mlflow.py",
    "test_adapter_evidently.py",
)


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to draw the same examples again."""
    return f"hypothesis: profile {PROFILE}, --hypothesis-seed={config.option.hypothesis_seed}"
