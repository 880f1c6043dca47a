"""Two rounds of random faults over a graph of 20 instances; ``tests/faults`` plays hundreds."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.rounds import Harness
from tests.faults.world import new_world

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(1500)]


def test_after_random_faults_each_instance_ran_once_on_the_new_inputs(tmp_path: Path) -> None:
    with new_world("sqlite") as world:
        harness = Harness(world, seed=secrets.randbelow(10**6), kept=tmp_path)
        harness.build()
        played = [harness.play(number) for number in (1, 2)]
        assert not any(one.faults for one in played), (harness.seed, list(map(str, played)))
        assert all(one.struck for one in played)
        answer = world.cli("verify")
        assert "lost" not in answer.out.replace("nothing is lost", "")
