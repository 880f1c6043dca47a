"""Sweeps: what a document may say, which points it means, and where a problem is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from prefect_instances.libs.core.errors import DataRejected, InvalidSpec, Problem
from prefect_instances.libs.definitions.base import UpstreamShape
from prefect_instances.libs.definitions.installed import discover
from prefect_instances.libs.quant.tear_sheet import judge_horizon
from prefect_instances.libs.services.composition.instance_types.experiments import (
    EXPERIMENT,
    convert_to_expression,
)
from prefect_instances.libs.services.composition.instance_types.instance_type import Composition
from prefect_instances.libs.services.procedures.panels import Panel, build_panel
from prefect_instances.libs.services.procedures.sweeps import (
    count_points,
    judge_points,
    list_varying,
    make_sweep_pages,
    record_points,
)
from prefect_instances.libs.specs import (
    ExperimentSpec,
    Point,
    output_fingerprint,
    parse_spec,
    spec_document,
)

GRID = {"grid": {"window": [5, 21], "lag": [1, 2, 3]}}
TWO = "DELTA(close, $window) / REF(close, $lag)"


def experiment(**more: Any) -> ExperimentSpec:
    document = {"name": "idea", "project": "p", "type": "ExperimentInstance"}
    spec = parse_spec({**document, "upstream_refs": [{"resource": "prices"}], **more})
    assert isinstance(spec, ExperimentSpec)
    return spec


def problems(**more: Any) -> list[tuple[str, str]]:
    """Path and message of each problem, as a plan tells them."""
    try:
        spec = experiment(**more)
        shapes = (UpstreamShape("prices", "input", "", ("date", "symbol", "close")),)
        found = list(EXPERIMENT.check(Composition(spec, {}, shapes, discover())))
    except InvalidSpec as error:
        found = list(error.problems)
    return [(problem.path, problem.message) for problem in found]


def test_a_grid_is_every_combination_and_the_output_is_that_of_the_first() -> None:
    spec = experiment(expression=TWO, sweep=GRID)
    points = spec.sweep.list_points()
    assert [tuple(point.values()) for point in points] == [
        (5, 1), (5, 2), (5, 3), (21, 1), (21, 2), (21, 3),
    ]  # fmt: skip
    assert convert_to_expression(discover(), spec).expression == "DELTA(close, 5) / REF(close, 1)"
    assert spec.at_point(points[5]).expression == "DELTA(close, 21) / REF(close, 3)"
    assert count_points(spec) == 6
    assert parse_spec(spec_document(spec)) == spec
    assert problems(expression=TWO, sweep=GRID) == []


def test_what_is_configured_stays_the_output_and_is_a_configuration_of_its_own() -> None:
    written = {"definition": "TS_ZSCORE", "config": {"x": "close", "d": 20}}
    spec = experiment(**written, sweep={"grid": {"d": [5, 10]}})
    assert convert_to_expression(discover(), spec).expression == "TS_ZSCORE(close, 20)"
    assert count_points(spec) == 3
    inside = experiment(**written, sweep={"points": [{"d": 5}, {"d": 20}]})
    assert convert_to_expression(discover(), inside).expression == "TS_ZSCORE(close, 20)"
    assert count_points(inside) == 2
    series = {"x": "DELTA(close, 1)", "d": 5}
    one = experiment(definition="TS_ZSCORE", sweep={"points": [series]})
    assert convert_to_expression(discover(), one).expression == "TS_ZSCORE((DELTA(close, 1)), 5)"


def test_a_negative_constant_keeps_its_sign_and_a_sweep_changes_the_fingerprint() -> None:
    spec = experiment(expression="close ** $k", sweep={"grid": {"k": [-2, 0.5]}})
    assert spec.at_point({"k": -2}).expression == "close ** (-2)"
    other = experiment(expression="close ** $k", sweep={"grid": {"k": [-2, 0.25]}})
    assert output_fingerprint(spec) != output_fingerprint(other)
    assert spec.at_point({"k": -2}).output_content().keys() == (
        experiment(expression="close").output_content().keys()
    )


@pytest.mark.parametrize(
    ("sweep", "paths"),
    [
        ({"grid": {"window": [], "lag": 3}}, {"sweep.grid.window", "sweep.grid.lag"}),
        ({"grid": {"window": [5, 5], "lag": [True]}},
         {"sweep.grid.window[1]", "sweep.grid.lag[0]"}),
        ({"grid": {"window": [5], "lag": ["close"], "no": [1]}},
         {"sweep.grid.lag[0]", "sweep.grid.no"}),
        ({"grid": {"window": [5]}}, {"expression"}),
        ({"grid": {"window": [*range(1, 16)], "lag": [*range(1, 16)]}}, {"sweep.grid"}),
        ({"points": [{"window": 5, "lag": 1}, {"window": 5}, {"window": 5, "lag": 1}]},
         {"sweep.points[1]", "sweep.points[2]"}),
        ({"points": [{"window": n + 1, "lag": 1} for n in range(201)]}, {"sweep.points"}),
        ({"grid": {"window": [5], "lag": [1]}, "points": [{"window": 5, "lag": 2}]},
         {"sweep.points"}),
        ({"grid": {"window": [5, -21], "lag": [1, 2, -3]}},
         {"sweep.grid.window[1]", "sweep.grid.lag[2]"}),
        ({"points": [{"window": 5, "lag": 1}, {"window": -5, "lag": 1}]}, {"sweep.points[1]"}),
        ({"griid": {}}, {"sweep.griid", "expression"}),
        ({}, {"expression"}),
    ],
)  # fmt: skip
def test_every_problem_of_a_sweep_is_told_with_its_path(
    sweep: dict[str, Any], paths: set[str]
) -> None:
    assert {path for path, _ in problems(expression=TWO, sweep=sweep)} == paths


def test_a_problem_of_the_expression_is_told_once_and_not_for_each_point() -> None:
    found = problems(expression=f"{TWO} + oopen + NO(close)", sweep=GRID)
    assert [path for path, _ in found] == ["expression"] * len(found)
    assert len(found) == len(set(found)) <= 2


def test_a_problem_of_an_argument_is_told_at_its_value() -> None:
    sweep = {"grid": {"d": [5, -5, "close"], "days": [1]}}
    found = {path for path, _ in problems(definition="TS_ZSCORE", sweep=sweep)}
    assert found >= {"sweep.grid.days", "sweep.grid.d[2]"}
    found = {p for p, _ in problems(definition="TS_ZSCORE", sweep={"points": [{"x": 5, "d": 3}]})}
    assert "sweep.points[0].x" in found


def test_only_a_combination_that_fails_is_blamed() -> None:
    from prefect_instances.libs.services.composition.instance_types.sweep_problems import (
        locate_problems,
    )

    spec = experiment(expression=TWO, sweep=GRID)
    found: list[list[Problem]] = [[], [], [], [], [Problem("expression", "is odd")], []]
    (only,) = locate_problems(spec.sweep, found)
    assert (only.path, only.message) == ("sweep.grid", "at window = 21, lag = 2: is odd")


def panel(seed: int) -> Panel:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 1), eager=True).to_list()
    drawn = np.random.default_rng(seed).normal(100, 5, (len(days), 8))
    rows = [(day, f"S{at}", drawn[n, at]) for n, day in enumerate(days) for at in range(8)]
    return build_panel(pl.DataFrame(rows, ["date", "symbol", "value"], orient="row"), "value")


def test_each_point_has_the_figures_of_its_own_values_and_says_why_it_has_none() -> None:
    spec = experiment(expression=TWO, sweep=GRID, horizons=[5, 1])
    prices = panel(0)

    def evaluate(point: Point) -> Panel:
        if point["window"] == 21 and point["lag"] == 3:
            raise DataRejected("no row has a value")
        return panel(point["window"] * 10 + point["lag"])

    found = judge_points(spec, evaluate, prices)

    expected = judge_horizon(panel(212).values, prices.values, 5, 5)
    assert found[4].figures == expected
    assert [one.values for one in found] == [8 * 61] * 5 + [0]
    recorded = record_points(found)
    assert recorded["window = 21, lag = 2"]["rank_ic"] == expected.rank_ic
    assert recorded["window = 21, lag = 3"] == {
        "values": 0, "ic": None, "rank_ic": None, "t": None, "turnover": None,
        "reason": "no row has a value",
    }  # fmt: skip
    table, picture = make_sweep_pages(spec, found)
    assert isinstance(table.data, list)
    assert table.data[4]["mean rank IC"] == expected.rank_ic
    assert [(row["window"], row["lag"]) for row in table.data][:2] == [(5, 1), (5, 2)]
    assert "`window = 5, lag = 1`" in str(picture.data)
    assert str(picture.data).count("data:image/png;base64,") == 1


def test_without_prices_or_with_three_parameters_there_is_a_table_and_no_picture() -> None:
    three = {"grid": {"a": [1, 2], "b": [1, 2], "c": [1, 2]}}
    spec = experiment(expression="$a * close + $b * close + $c", sweep=three)
    for prices in (None, panel(0)):
        table, picture = make_sweep_pages(spec, judge_points(spec, lambda _: panel(1), prices))
        assert isinstance(table.data, list)
        assert len(table.data) == 8
        assert "data:image" not in str(picture.data)
    known = judge_points(spec, lambda _: panel(1), panel(0))[0].figures
    assert known is not None
    assert math.isfinite(known.rank_ic)


def test_a_parameter_with_one_value_does_not_vary() -> None:
    points = experiment(expression=TWO, sweep={"grid": {"window": [5, 9], "lag": [1]}}).sweep
    assert list_varying(points.list_points()) == {"window": [5, 9]}
