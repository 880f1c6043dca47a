"""Figures as a table, as JSON, and as the section of docs/performance.md with its plots."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.record import Figure

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PEERS, PEERS_BEGIN, PEERS_END = "peers", "<!-- peers: begin -->", "<!-- peers: end -->"
SCALE, SCALE_BEGIN, SCALE_END = "scale", "<!-- scale: begin -->", "<!-- scale: end -->"
MARKS = {True: "met", False: "missed", None: ""}
PACKAGES = ("prefect", "sqlalchemy", "polars", "deltalake")
COLUMNS = ("", "at", "figure", "compared to", "", "ratio", "target", "")


def document(figures: Sequence[Figure], *, quick: bool) -> dict[str, Any]:
    """The JSON document of a run."""
    from benchmarks.peers.page import summarise_peers

    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": machine(),
        "figures": [*(figure.document() for figure in figures), *summarise_peers(figures)],
    }


def machine() -> dict[str, Any]:
    """The machine in general terms, and the versions that matter."""
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "loop": round(loop_seconds(), 2),
        **{name: version(name) for name in PACKAGES},
    }


def loop_seconds() -> float:
    """Seconds of ten million additions in Python: how quick the machine was, told two of them."""
    begin, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - begin


def show(figures: Sequence[Figure]) -> None:
    """A table for each subject, on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    for subject, own in by_subject(figures).items():
        table = Table(title=subject, title_justify="left")
        for column in COLUMNS:
            table.add_column(column)
        for figure in own:
            table.add_row(*_cells(figure))
        console.print(table)


def by_subject(figures: Iterable[Figure]) -> dict[str, list[Figure]]:
    """In the order in which they were taken."""
    groups: dict[str, list[Figure]] = defaultdict(list)
    for figure in figures:
        groups[figure.subject].append(figure)
    return groups


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{figure.at:,}" if figure.at is not None else "",
        _number(figure.value, figure.unit),
        figure.compared_to,
        _number(figure.compared, figure.unit) if figure.compared is not None else "",
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        str(figure.target) if figure.target else "",
        MARKS[figure.met],
    )


def _number(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def write_docs(figures: Sequence[Figure], page: Path = PAGE) -> None:
    """Replace what stands between the marks of the page, and draw its plots beside it.

    The peers have marks of their own, and scale a page; a section without new figures stays.
    """
    own = [figure for figure in figures if figure.subject not in (PEERS, SCALE)]
    if own:
        plots = [_plot(subject, group, page.parent) for subject, group in by_subject(own).items()]
        _replace(page, BEGIN, END, [*_section(own, [plot for plot in plots if plot])])
    scale = [figure for figure in figures if figure.subject == SCALE]
    if scale:
        _replace(page.with_name("scaling.md"), SCALE_BEGIN, SCALE_END, [*_section(scale, [])])
    peers = [figure for figure in figures if figure.subject == PEERS]
    if peers:
        from benchmarks.peers.page import write_section

        _replace(page, PEERS_BEGIN, PEERS_END, [_taken(), *write_section(peers)])


def _replace(page: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    text, section = page.read_text(), "\n".join([begin, *lines, end])
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page} has no lines {begin} and {end}")
    page.write_text(pattern.sub(lambda _: section, text))


def _taken() -> str:
    facts = machine()
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", *PACKAGES))
    return (
        f"Taken {datetime.now(UTC):%d %B %Y} on a machine of {facts['cores']} cores, {versions}; "
        f"load when it ended {facts['load']}, ten million additions in Python {facts['loop']} s."
    )


def _section(figures: Sequence[Figure], plots: Sequence[str]) -> Iterable[str]:
    yield _taken()
    for subject, own in by_subject(figures).items():
        yield f"\n### {subject}\n"
        yield "| | at | figure | compared to | | ratio | target | |"
        yield "|---|---:|---:|---|---:|---:|---|---|"
        yield from (f"| {' | '.join(_cells(figure))} |" for figure in own)
        yield from (f"\n![{plot}]({plot})" for plot in plots if plot.endswith(f"-{subject}.svg"))


def _plot(subject: str, figures: Iterable[Figure], folder: Path) -> str | None:
    """Growth curves of a subject; the name of the file, None where nothing grows."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    units = {figure.name: figure.unit for figure in figures if figure.at is not None}
    for figure in figures:
        if figure.at is not None:
            curves[figure.name].append((figure.at, figure.value))
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = subject
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(7, 3.6))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{name} ({units[name]})")
    axes.set(xscale="log", yscale="log", xlabel="instances", title=subject)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    name = f"performance-{subject}.svg"
    drawing.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(drawing)
    return name
