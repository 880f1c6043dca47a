"""Lineage as an SVG picture, for pages that load nothing from the internet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from textwrap import shorten

from prefect_instances.libs.core.lineage import levels
from prefect_instances.libs.services.rendering.diagrams import COLOURS, Arrow, Box

WIDTH, HEIGHT, ACROSS, BETWEEN, MARGIN = 210, 46, 70, 18, 8
"""Size of a box, the gaps between columns and between rows, and the margin, in pixels."""

LINE_LENGTH = 30
"""How many characters a line of a box holds; its tooltip has the whole text."""

Point = tuple[float, float]

_HEAD = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>'
)


def draw_svg(boxes: Sequence[Box], arrows: Iterable[Arrow]) -> str:
    """Draw boxes and arrows from left to right, upstreams first; dotted arrows do not trigger.

    Arrows that start or end outside are left out.
    """
    keys = {box.key for box in boxes}
    inside = [arrow for arrow in arrows if {arrow.upstream, arrow.downstream} <= keys]
    places = place_boxes([box.key for box in boxes], inside)
    width = max((x for x, _ in places.values()), default=0) + WIDTH + MARGIN
    height = max((y for _, y in places.values()), default=0) + HEIGHT + MARGIN
    parts = [_draw_arrow(arrow, places) for arrow in inside]
    parts += [_draw_box(box, places[box.key]) for box in boxes]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" style="max-width:100%" font-family="sans-serif">'
        f"{_HEAD}{''.join(parts)}</svg>"
    )


def place_boxes(keys: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, Point]:
    """Return the upper left corner of each box, in pixels.

    A column holds what depends on earlier columns only. In it, boxes are ordered by the mean row of
    their upstreams, which avoids most crossings (the barycentre heuristic of Sugiyama, 1981).
    """
    upstreams: dict[str, list[str]] = {key: [] for key in keys}
    for arrow in arrows:
        upstreams[arrow.downstream].append(arrow.upstream)
    rows: dict[str, float] = {}
    places: dict[str, Point] = {}
    columns = levels(keys, [(arrow.upstream, arrow.downstream) for arrow in arrows])
    tallest = max(map(len, columns), default=0)
    for column, members in enumerate(columns):
        ordered = sorted(members, key=lambda key: _mean_row(upstreams[key], rows))
        first = (tallest - len(ordered)) / 2
        for at, key in enumerate(ordered):
            rows[key] = first + at
            places[key] = (
                MARGIN + column * (WIDTH + ACROSS),
                MARGIN + rows[key] * (HEIGHT + BETWEEN),
            )
    return places


def _mean_row(upstreams: Sequence[str], rows: Mapping[str, float]) -> float:
    known = [rows[key] for key in upstreams if key in rows]
    return sum(known) / len(known) if known else 0.0


def _draw_arrow(arrow: Arrow, places: Mapping[str, Point]) -> str:
    (left, top), (right, bottom) = places[arrow.upstream], places[arrow.downstream]
    begin, end, low, high = left + WIDTH, right, top + HEIGHT / 2, bottom + HEIGHT / 2
    half = max((end - begin) / 2, ACROSS / 2)
    dotted = "" if arrow.triggers else ' stroke-dasharray="3 4"'
    said = arrow.text or "input"
    said += "" if arrow.triggers else ", does not trigger"
    return (
        f'<path d="M{begin:g} {low:g}C{begin + half:g} {low:g} {end - half:g} {high:g} '
        f'{end:g} {high:g}" fill="none" stroke="#555"{dotted} marker-end="url(#tip)">'
        f"<title>{escape(said)}</title></path>"
    )


def _draw_box(box: Box, place: Point) -> str:
    fill, stroke = COLOURS[box.status].split(",stroke:")
    x, y = place
    lines = "".join(
        f'<text x="{x + 10:g}" y="{y + 19 + 17 * at:g}" font-size="{13 - 2 * at}" fill="#111">'
        f"{escape(shorten(line, LINE_LENGTH, placeholder='…') or line[:LINE_LENGTH])}</text>"
        for at, line in enumerate(box.lines[:2])
    )
    return (
        f"<g><title>{escape(', '.join(box.lines))}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{fill}" stroke="{stroke}" stroke-width="{3 if box.asked else 1}"/>{lines}</g>'
    )
