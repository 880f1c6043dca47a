"""Where the problems of the points of a sweep are: in one value, in a combination, or in all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.specs import Point, SweepSpec

_POSITION = re.compile(r"^line \d+, column \d+: ")


def locate_problems(sweep: SweepSpec, found: Sequence[Sequence[Problem]]) -> list[Problem]:
    """Return each problem once, at the path of what causes it.

    ``found`` holds the problems of each point, in the order of the points. A problem of all points
    keeps its path, unless it is a problem of a swept argument.
    """
    places: dict[tuple[str, str], dict[int, Problem]] = {}
    for at, problems in enumerate(found):
        for problem in problems:
            key = (problem.path, _POSITION.sub("", problem.message))
            places.setdefault(key, {}).setdefault(at, problem)
    points = sweep.list_points()
    return [
        located
        for (path, _), there in places.items()
        for located in _located(sweep, points, path.removeprefix("config."), there)
    ]


def describe_point(point: Point) -> str:
    """Describe a point in one line, such as ``window = 5, lag = 1``."""
    return ", ".join(f"{name} = {value}" for name, value in point.items())


def _located(
    sweep: SweepSpec, points: Sequence[Point], name: str, there: dict[int, Problem]
) -> Iterable[Problem]:
    first = next(iter(there.values()))
    swept = name in points[0] and first.path.startswith("config.")
    if len(there) == len(points):
        path = f"sweep.grid.{name}" if sweep.grid else f"sweep.points[0].{name}"
        return [Problem(path, first.message) if swept else first]
    if sweep.grid:
        return _in_grid(sweep, points, there)
    tail = f".{name}" if swept else ""
    return [Problem(f"sweep.points[{at}]{tail}", one.message) for at, one in there.items()]


def _in_grid(sweep: SweepSpec, points: Sequence[Point], there: dict[int, Problem]) -> list[Problem]:
    """Blame the values of one parameter where they explain all, otherwise each combination."""
    for name, values in sweep.grid.items():
        of_value = [
            {at for at, point in enumerate(points) if point[name] == value} for value in values
        ]
        bad = [place for place, held in enumerate(of_value) if held <= there.keys()]
        if set().union(*(of_value[place] for place in bad)) == there.keys():
            message = {place: there[min(of_value[place])].message for place in bad}
            return [Problem(f"sweep.grid.{name}[{place}]", message[place]) for place in bad]
    return [
        Problem("sweep.grid", f"at {describe_point(points[at])}: {one.message}")
        for at, one in there.items()
    ]
