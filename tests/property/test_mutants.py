"""The state machine sees mistakes: with any rule of the core broken, a history fails."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.backend import MemoryBackend
from tests.property.machine import machine_over
from tests.property.mutants import MUTANTS

FEW = settings(
    max_examples=1000,
    stateful_step_count=30,
    phases=(Phase.generate,),
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
"""Enough for every mutant with room to spare; not shrunk, and the same every time."""


@pytest.mark.thorough
@pytest.mark.parametrize("name", MUTANTS)
def test_the_state_machine_fails_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine_over(MemoryBackend, Counter()), settings=FEW)
