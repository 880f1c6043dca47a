"""Figures and pictures: what is drawn, with the right numbers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from prefect_instances.libs.services.procedures import backtesting
from prefect_instances.libs.services.rendering.diagrams import COLOURS, Arrow, Box
from prefect_instances.libs.services.rendering.figures import (
    MANY,
    PORTFOLIO,
    draw_backtest,
    draw_fields,
    draw_signal,
    draw_weights,
    write_page,
)
from prefect_instances.libs.services.rendering.svg import draw_svg, place_boxes
from prefect_instances.libs.services.rendering.tables import SHOWN_ROWS, Table
from prefect_instances.libs.services.views.plotting import choose_fields

MON, TUE = date(2024, 1, 1), date(2024, 1, 2)


def frame(*rows: tuple[Any, ...], columns: str = "value") -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["date", "symbol", *columns.split()], orient="row")


def test_a_dataset_has_a_row_for_each_field_and_a_line_for_each_symbol() -> None:
    rows = frame((TUE, "B", 4.0, 9), (MON, "A", 1.0, 7), (TUE, "A", 2.0, 8), columns="close volume")

    lines = draw_fields("t", rows, ["close", "volume"]).data

    assert [(line.name, line.yaxis, list(line.y)) for line in lines] == [
        ("A", "y", [1.0, 2.0]),
        ("B", "y", [4.0]),
        ("A", "y2", [7, 8]),
        ("B", "y2", [9]),
    ]
    assert [line.showlegend for line in lines] == [True, True, False, False]


def test_many_symbols_are_drawn_as_quantiles() -> None:
    many = frame(*((MON, f"S{at:02d}", float(at)) for at in range(MANY + 1)))

    lines = draw_fields("t", many, ["value"]).data

    assert [(line.name, line.y[0]) for line in lines] == [
        ("p05", 1.25), ("p25", 6.25), ("p50", 12.5), ("p75", 18.75), ("p95", 23.75),
    ]  # fmt: skip


def test_a_signal_shows_how_many_symbols_have_a_value() -> None:
    rows = frame((MON, "A", 1.0), (MON, "B", None), (TUE, "A", 2.0), (TUE, "B", 3.0))
    rows = pl.concat([rows, frame((TUE, "C", float("nan")))])

    coverage = draw_signal("t", rows, ["value"]).data[-1]

    assert (coverage.x, coverage.y) == ((MON, TUE), (1, 2))


def test_a_backtest_shows_equity_above_drawdown_the_portfolio_first() -> None:
    rows = frame(
        (MON, "BENCHMARK", 100.0, 0.0), (TUE, "BENCHMARK", 101.0, 0.0),
        (MON, PORTFOLIO, 100.0, 0.0), (TUE, PORTFOLIO, 90.0, -0.1),
        columns="equity drawdown",
    )  # fmt: skip

    lines = draw_backtest("t", rows).data

    assert backtesting.PORTFOLIO == PORTFOLIO
    assert [(line.name, line.yaxis, line.y[-1]) for line in lines] == [
        (PORTFOLIO, "y", 90.0),
        ("drawdown of PORTFOLIO", "y2", -0.1),
        ("BENCHMARK", "y", 101.0),
        ("drawdown of BENCHMARK", "y2", 0.0),
    ]


def test_weights_are_stacked_the_largest_first_unless_one_is_negative() -> None:
    rows = frame(
        (MON, "A", 0.3), (MON, "B", 0.7), (MON, "C", 0.0), (TUE, "B", 1.0), columns="weight"
    )

    stacked = draw_weights("t", rows).data
    assert [(line.name, line.y, line.stackgroup) for line in stacked] == [
        ("B", (0.7, 1.0), "weights"),
        ("A", (0.3, 0.0), "weights"),
    ]

    short = frame((MON, "A", -0.5), (MON, "B", 1.5), columns="weight")
    assert {line.stackgroup for line in draw_weights("t", short).data} == {None}


def test_a_page_holds_all_that_it_needs(tmp_path: Path) -> None:
    figure = draw_fields("t", frame((MON, "A", 1.0)), ["value"])

    page = write_page(figure, tmp_path / "new" / "page.html").read_text()

    assert "<script src=" not in page
    assert len(page) > 1_000_000


def test_usual_fields_are_drawn_alone_and_asked_ones_all() -> None:
    prices = frame((MON, "A", 1.0, 2.0, "x"), columns="open close note")

    assert choose_fields(prices, asked=False) == ["close"]
    assert choose_fields(prices.drop("close"), asked=False) == ["open"]
    assert choose_fields(prices, asked=True) == ["open", "close"]


def test_lineage_runs_from_left_to_right_and_says_all_in_tooltips() -> None:
    arrows = [
        Arrow("a", "b"),
        Arrow("a", "c"),
        Arrow("b", "d", triggers=False, text="x<y"),
        Arrow("d", "gone"),
    ]
    boxes = [Box(key, (f"{key} & co", "READY"), "READY") for key in "abcd"]

    places = place_boxes([*"abcd"], arrows[:3])
    assert places["a"][0] < places["b"][0] == places["c"][0] < places["d"][0]
    assert places["b"][1] != places["c"][1]

    picture = ElementTree.fromstring(draw_svg(boxes, arrows))
    titles = [title.text for title in picture.findall(".//{*}title")]
    assert titles == [
        "input", "input", "x<y, does not trigger", *(f"{key} & co, READY" for key in "abcd"),
    ]  # fmt: skip
    assert [path.get("stroke-dasharray") for path in picture.findall("{*}path")] == [
        None,
        None,
        "3 4",
    ]
    assert "http" not in draw_svg(boxes, arrows).replace("http://www.w3.org/2000/svg", "")


def test_no_flow_is_an_empty_picture() -> None:
    assert ElementTree.fromstring(draw_svg([], [])).findall("{*}g") == []


def test_a_table_escapes_colours_and_leaves_out_what_is_empty() -> None:
    rows = pl.DataFrame({"status": ["READY", "failed"], "why": ["<b>", None], "no": [None, None]})
    shown = Table("a < b", rows)._repr_html_()

    assert shown.count("<th ") == 2
    assert "a &lt; b" in shown
    assert "&lt;b&gt;" in shown
    for status in ("READY", "ERROR"):
        assert f"background:{COLOURS[status].split(',')[0]};" in shown

    long = Table("t", pl.DataFrame({"n": range(SHOWN_ROWS + 5)}))
    assert "and 5 more rows" in long._repr_html_()
    assert len(long) == SHOWN_ROWS + 5
    assert repr(long).splitlines()[0] == "t"
    assert [row["n"] for row in long][:2] == [0, 1]


def test_a_table_in_a_terminal_is_narrow() -> None:
    now = datetime(2024, 1, 1, 9, 30, 5, tzinfo=UTC)
    rows = pl.DataFrame({"name": ["a"], "since": [now], "no": [None], "message": ["long"]})

    shown = repr(Table("t", rows, hidden=("message",)))

    assert "2024-01-01 09:30" in shown
    assert not {"no", "message", "09:30:05"} & {*shown.replace("│", " ").replace("┆", " ").split()}
