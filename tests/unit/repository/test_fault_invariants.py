"""The checks of the fault harness find what they are for: twice, never, mixed, and behind."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from uuid import UUID, uuid5

from tests.faults.invariants import (
    Facts,
    FlowFact,
    RunFact,
    descendants,
    find_behind,
    find_doubled,
    find_miscounted,
    find_mixed,
)
from tests.faults.strikes import draw
from tests.property.graphs import SPACE

UPSTREAMS = {
    "a.refresh": frozenset({"prices.refresh"}),
    "b.refresh": frozenset({"prices.refresh"}),
    "d.refresh": frozenset({"a.refresh", "b.refresh"}),
}


def made(flow: str, generation: int) -> UUID:
    return uuid5(SPACE, f"{flow}:{generation}")


def ran(flow: str, generation: int, **read: int) -> RunFact:
    """A success that published a generation."""
    name = f"{flow}.refresh"
    inputs: Mapping[str, int] = {f"{up}.refresh": number for up, number in read.items()}
    return RunFact(name, "completed", inputs, made(name, generation))


def facts(*runs: RunFact, generation: int = 2) -> Facts:
    names = {"prices.refresh", *UPSTREAMS}
    flows = {n: FlowFact(n, "READY", generation, made(n, generation)) for n in names}
    versions = {made(n, g): (n, g) for n in names for g in range(1, generation + 1)}
    return Facts(flows, UPSTREAMS, runs, versions)


FIRST = (ran("prices", 1), ran("a", 1, prices=1), ran("b", 1, prices=1), ran("d", 1, a=1, b=1))
SECOND = (ran("prices", 2), ran("a", 2, prices=2), ran("b", 2, prices=2), ran("d", 2, a=2, b=2))
ALL = ("prices.refresh", *UPSTREAMS)


def test_two_whole_refreshes_break_nothing() -> None:
    seen = facts(*FIRST, *SECOND)
    assert descendants(seen, "prices.refresh") == set(ALL)
    assert [
        *find_miscounted(seen, len(FIRST), ALL),
        *find_doubled(seen, 0),
        *find_mixed(seen),
        *find_behind(seen),
    ] == []


def test_a_run_that_is_missing_or_repeated_is_counted() -> None:
    missing = facts(*FIRST, *SECOND[:-1])
    assert find_miscounted(missing, len(FIRST), ALL) == ["d.refresh succeeded 0 times"]
    twice = facts(*FIRST, *SECOND, SECOND[-1])
    assert find_miscounted(twice, len(FIRST), ALL) == ["d.refresh succeeded 2 times"]
    assert len(find_doubled(twice, len(FIRST))) == 1


def test_inputs_of_two_refreshes_are_a_mix() -> None:
    mixed = facts(*FIRST, *SECOND[:-1], ran("d", 2, a=2, b=1))
    assert [text.partition(" ")[0] for text in find_mixed(mixed)] == ["d.refresh"]
    assert find_behind(mixed) == ["d.refresh read b.refresh 1, which is at 2"]


def test_the_same_seed_draws_the_same_faults() -> None:
    drawn = [[draw(Random(f"{seed}:{n}")) for n in range(20)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {str(one.target) for some in drawn for faults in some for one in faults} == {
        "run",
        "forkserver",
        "worker",
        "server",
        "database",
    }
