"""The graphs that all systems run: for each asset, the assets that it reads.

A graph's names begin with its own name, so that several live side by side in one project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Upstreams = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Graph:
    """A root and what descends from it.

    ``title`` is for people; ``apart`` is the time in seconds between two refreshes of the root that
    overlap, None where each refresh waits until the one before has reached everything.
    """

    title: str
    root: str
    upstreams: Upstreams
    apart: float | None = None

    @property
    def descendants(self) -> tuple[str, ...]:
        """Everything but the root."""
        return tuple(name for name in self.upstreams if name != self.root)

    @property
    def joints(self) -> tuple[str, ...]:
        """The assets that read more than one other."""
        return tuple(name for name, read in self.upstreams.items() if len(read) > 1)


def make_chain(length: int) -> Graph:
    """Make a chain of so many assets."""
    names = [f"chain_{number}" for number in range(length)]
    upstreams = {name: tuple(names[max(0, i - 1) : i]) for i, name in enumerate(names)}
    return Graph(f"chain of {length}", names[0], upstreams)


def make_fan_out(width: int) -> Graph:
    """Make one asset that so many read."""
    root = f"fan{width}_root"
    leaves = {f"fan{width}_{number:03d}": (root,) for number in range(width)}
    return Graph(f"fan-out {width}", root, {root: (), **leaves})


def make_diamond() -> Graph:
    """Make two assets that read the root, and one that reads both."""
    upstreams = {
        "diamond_a": (),
        "diamond_b": ("diamond_a",),
        "diamond_c": ("diamond_a",),
        "diamond_d": ("diamond_b", "diamond_c"),
    }
    return Graph("diamond", "diamond_a", upstreams)


def make_unbalanced_diamond(apart: float) -> Graph:
    """Make a diamond with one asset more on one side, refreshed twice within ``apart`` seconds."""
    upstreams = {
        "skew_a": (),
        "skew_b": ("skew_a",),
        "skew_c": ("skew_a",),
        "skew_c2": ("skew_c",),
        "skew_d": ("skew_b", "skew_c2"),
    }
    title = f"unbalanced diamond, 2 refreshes {apart:g} s apart"
    return Graph(title, "skew_a", upstreams, apart)


def make_idle(count: int) -> Upstreams:
    """Make so many assets that all descend from the first, ten from each, and never run."""
    return {
        f"idle_{number:04d}": (f"idle_{(number - 1) // 10:04d}",) if number else ()
        for number in range(count)
    }
