"""Spec of a sweep: the points at which an experiment is evaluated, as a grid or as a list."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, Field

from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.json_values import Config
from prefect_instances.libs.specs.reading.problems import Fault, Loc

Point = Mapping[str, Any]
"""The value of each swept parameter, by name: a number, or a text for an argument."""

MAX_POINTS = 200
"""More points in one sweep are refused: all of them are evaluated in one run."""

CONSTANT = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
"""A constant of an expression that a sweep varies, such as ``$window``."""


class SweepSpec(SpecModel):
    """The points at which an experiment is evaluated in each run, besides its output."""

    model_config = ConfigDict(title="Sweep")

    grid: Config = Field(
        default_factory=dict,
        title="Grid",
        description="Lists of values by parameter; each combination is a point. A parameter is a "
        "constant of the expression, written there as $window, or an argument of the definition. "
        f"At most {MAX_POINTS} points.",
        examples=[{"window": [5, 21, 63], "lag": [1, 5]}],
    )
    points: list[Config] = Field(
        default_factory=list,
        title="Points",
        description="The points themselves instead of a grid: a value for each parameter.",
        examples=[[{"window": 5, "lag": 1}, {"window": 63, "lag": 5}]],
    )

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Check the names and values of the parameters, and the number of points."""
        grid, points = values.get("grid"), values.get("points")
        if grid and points:
            yield Fault(("points",), "cannot be given together with a grid")
        if isinstance(grid, Mapping):
            yield from _grid_faults(grid)
        if isinstance(points, list):
            yield from _point_faults(points)

    def list_points(self) -> list[Point]:
        """List the points in the order of the spec; of a grid, the last parameter varies first."""
        if self.points:
            return [dict(point) for point in self.points]
        if not self.grid:
            return []
        chosen = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, values, strict=True)) for values in chosen]


def locate_values(sweep: object) -> list[tuple[str, Loc, Any]]:
    """List (parameter, path within the spec, value) of a sweep that may not be valid yet.

    A parameter without a list of values is there once, with the value None.
    """
    if isinstance(sweep, SweepSpec):
        sweep = {"grid": sweep.grid, "points": sweep.points}
    if not isinstance(sweep, Mapping):
        return []
    grid, points = sweep.get("grid"), sweep.get("points")
    found: list[tuple[str, Loc, Any]] = [
        (str(name), ("sweep", "grid", str(name), at), value)
        for name, values in (grid.items() if isinstance(grid, Mapping) else ())
        for at, value in enumerate(values if isinstance(values, list) and values else (None,))
    ]
    for at, point in enumerate(points if isinstance(points, list) else ()):
        pairs = point.items() if isinstance(point, Mapping) else ()
        found += [(str(name), ("sweep", "points", at, str(name)), value) for name, value in pairs]
    return found


def is_number(value: object) -> bool:
    """Return True for a number that is not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_constants(expression: str, point: Point) -> str:
    """Write the values of a point in place of the constants of an expression."""

    def write(found: re.Match[str]) -> str:
        value = point.get(found[1])
        if value is None:
            return found[0]
        return f"({value!r})" if value < 0 else repr(value)

    return CONSTANT.sub(write, expression)


def _grid_faults(grid: Mapping[Any, Any]) -> Iterable[Fault]:
    for name, values in grid.items():
        at = ("grid", str(name))
        yield from _name_faults(str(name), at)
        if not isinstance(values, list) or not values:
            yield Fault(at, "must be a list of at least one value")
            continue
        for place, value in enumerate(values):
            yield from _value_faults(value, (*at, place))
            if value in values[:place]:
                yield Fault((*at, place), "repeats a value")
    count = math.prod(len(values) for values in grid.values() if isinstance(values, list))
    if count > MAX_POINTS:
        yield Fault(("grid",), f"has {count:,} points, at most {MAX_POINTS} are allowed")


def _point_faults(points: list[Any]) -> Iterable[Fault]:
    if len(points) > MAX_POINTS:
        text = f"has {len(points):,} points, at most {MAX_POINTS} are allowed"
        yield Fault(("points",), text)
    known = [point for point in points if isinstance(point, Mapping)]
    for place, point in enumerate(points):
        if not isinstance(point, Mapping):
            continue
        if not point:
            yield Fault(("points", place), "must have a value for at least one parameter")
        if point.keys() != known[0].keys():
            there = ", ".join(map(str, known[0]))
            yield Fault(("points", place), f"must have the parameters of the first one: {there}")
        if point in points[:place]:
            yield Fault(("points", place), "repeats a point")
        for name, value in point.items():
            yield from _name_faults(str(name), ("points", place, str(name)))
            yield from _value_faults(value, ("points", place, str(name)))


def _name_faults(name: str, at: Loc) -> Iterable[Fault]:
    if not CONSTANT.fullmatch(f"${name}"):
        yield Fault(at, "must be a name of letters, digits and _, without the $")


def _value_faults(value: object, at: Loc) -> Iterable[Fault]:
    if not is_number(value) and not (isinstance(value, str) and value):
        yield Fault(at, "must be a number, or a text for an argument that is a series")
