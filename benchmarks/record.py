"""What a subject measures, and the choices that a run of the benchmark was started with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.live import Live


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach: at most ``limit``, or at least that where ``least``.

    ``of_ratio`` says that the ratio to the comparison is meant, not the value.
    """

    limit: float
    of_ratio: bool = False
    least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g}{'×' if self.of_ratio else ''}"

    def is_met(self, value: float | None) -> bool | None:
        """None where there is no value to judge."""
        if value is None:
            return None
        return value >= self.limit if self.least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One number beside what it is compared to, both taken in this run.

    ``value`` and ``compared`` are in ``unit``; ``at`` is the size at which a growth curve was
    taken, None for a single figure; ``compared_to`` says in words what the comparison is.
    """

    subject: str
    name: str
    value: float
    unit: str
    compared_to: str = ""
    compared: float | None = None
    target: Target | None = None
    at: int | None = None

    @property
    def ratio(self) -> float | None:
        """``value`` over ``compared``."""
        return self.value / self.compared if self.compared else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.target.is_met(self.ratio if self.target.of_ratio else self.value)

    def document(self) -> dict[str, Any]:
        """The JSON object of the figure."""
        ratio = round(self.ratio, 3) if self.ratio is not None else None
        target = str(self.target) if self.target else None
        return {**asdict(self), "ratio": ratio, "target": target, "met": self.met}


@dataclass(frozen=True, slots=True)
class Run:
    """How the benchmark runs: ``quick`` takes small sizes; ``scratch`` is an empty directory.

    ``rounds`` is how many turns each system of ``peers`` takes, ``widths`` are its fan-outs;
    ``peers`` are those that take part, all if it is empty.
    """

    quick: bool
    scratch: Path
    live: Live
    rounds: int = 1
    widths: tuple[int, ...] = ()
    peers: tuple[str, ...] = ()

    def pick(self, quick: Any, full: Any) -> Any:
        """One of two sizes."""
        return quick if self.quick else full


def timed(call: Callable[[], object], repeats: int, before: Callable[[], object] = int) -> float:
    """Median seconds of ``repeats`` calls after one that warms up; ``before`` is not timed."""
    return median([_once(call, before) for _ in range(repeats + 1)][1:])


def _once(call: Callable[[], object], before: Callable[[], object] = int) -> float:
    before()
    start = perf_counter()
    call()
    return perf_counter() - start


def in_turns(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median seconds of both, called in turns: what else the machine does meets both alike."""
    both = [(_once(ours), _once(peer)) for _ in range(repeats + 1)][1:]
    return median(mine for mine, _ in both), median(theirs for _, theirs in both)
