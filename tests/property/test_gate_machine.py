"""Random histories in memory: the invariants of status, freshness and the gate hold in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.promised import PROMISED
from tests.property.backend import MemoryBackend
from tests.property.machine import machine_over
from tests.property.statistics import assert_not_vacuous, table

pytestmark = pytest.mark.hypothesis

LEAST = 100
"""Histories in which all that is common happens; they cost little in memory."""


def test_every_history_keeps_the_invariants(record_property: Callable[[str, object], None]) -> None:
    counts: Counter[str] = Counter()
    enough = settings(max_examples=max(LEAST, PROMISED))
    run_state_machine_as_test(machine_over(MemoryBackend, counts), settings=enough)
    record_property("counts", table("random histories in memory", counts))
    assert_not_vacuous(counts)
    assert counts["histories"] >= enough.max_examples
