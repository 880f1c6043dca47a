"""The demonstration on several hosts, with a part struck in each of three refreshes.

``python -m tests.faults.hosts_rounds`` strikes every part.
"""

from __future__ import annotations

import secrets

import pytest

from tests.faults.hosts import find_missing, several_hosts
from tests.faults.hosts_rounds import HostsHarness

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.thorough,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(find_missing()), reason=f"not installed: {', '.join(find_missing())}"),
]


def test_the_demo_on_several_hosts_runs_once_on_one_day_whatever_is_struck() -> None:
    with several_hosts() as hosts:
        harness = HostsHarness(hosts, seed=secrets.randbelow(10**6))
        harness.build()
        played = [harness.play(number) for number in range(3)]
        assert not any(one.faults for one in played), (harness.seed, list(map(str, played)))
        assert len(hosts.workers[0].statuses("demo")) == 9
