"""Random histories in memory: the invariants of status, freshness and the gate hold in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.backend import MemoryBackend
from tests.property.machine import machine_over
from tests.property.statistics import assert_not_vacuous, table


def test_every_history_keeps_the_invariants(record_property: Callable[[str, object], None]) -> None:
    counts: Counter[str] = Counter()
    run_state_machine_as_test(machine_over(MemoryBackend, counts), settings=settings())
    record_property("counts", table("random histories in memory", counts))
    assert_not_vacuous(counts)
    assert counts["histories"] >= settings().max_examples
