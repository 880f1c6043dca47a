"""The faults of a round: which are drawn, and how each is done to a world and undone."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.faults.world import World, send


class Target(StrEnum):
    """What a fault hits."""

    RUN = "run"
    FORKSERVER = "forkserver"
    WORKER = "worker"
    SERVER = "server"
    DATABASE = "database"


class Way(StrEnum):
    """What is done to it."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTART = "restart"


WAYS = {
    Target.RUN: (Way.KILL, Way.FREEZE, Way.RESTART),
    Target.FORKSERVER: (Way.KILL, Way.FREEZE, Way.RESTART),
    Target.WORKER: (Way.KILL, Way.FREEZE, Way.RESTART),
    Target.SERVER: (Way.KILL, Way.FREEZE, Way.RESTART),
    Target.DATABASE: (Way.KILL,),
}
"""A lock that is held is what a killed server is to SQLite: nobody can write."""

LONGEST_DELAY, LONGEST = 8.0, 14.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: after ``delay`` seconds, for ``lasts`` seconds; ``pick`` chooses among several."""

    target: Target
    way: Way
    delay: float
    lasts: float
    pick: float

    def __str__(self) -> str:
        return f"{self.way} {self.target} +{self.delay:.1f}s for {self.lasts:.1f}s"


def draw(rng: Random) -> list[Strike]:
    """Draw the one to three faults of a round."""
    return [_one(rng) for _ in range(rng.choice((1, 1, 2, 3)))]


def _one(rng: Random) -> Strike:
    target = rng.choice([Target.RUN, *Target])
    way = rng.choice(WAYS[target])
    lasts = rng.uniform(0.5, LONGEST)
    return Strike(target, way, rng.uniform(0, LONGEST_DELAY), lasts, rng.random())


def strike(world: World, fault: Strike) -> str:
    """Do it, wait, bring back what is dead; return what was hit, "" if nothing was there."""
    time.sleep(fault.delay)
    if fault.target is Target.DATABASE:
        with world.database_away():
            time.sleep(fault.lasts)
        return "database"
    there = world.by_role()[fault.target]
    if not there:
        return ""
    victim = there[int(fault.pick * len(there))]
    if fault.way is Way.FREEZE:
        send(victim, signal.SIGSTOP)
        time.sleep(fault.lasts)
        send(victim, signal.SIGCONT)
    else:
        send(victim, signal.SIGTERM if fault.way is Way.RESTART else signal.SIGKILL)
        time.sleep(fault.lasts)
    if fault.target in (Target.WORKER, Target.SERVER) and fault.way is not Way.FREEZE:
        world.restore()
    return f"{fault.target} {victim.pid}"
