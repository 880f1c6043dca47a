"""The section of docs/performance.md on the peers: settings, figures, where one is ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.peers import airflow_peer, dagster_peer, ours
from benchmarks.record import Figure

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "ours": ours.SETTINGS,
    "Airflow": airflow_peer.SETTINGS,
    "Dagster": dagster_peer.SETTINGS,
}


def write_section(figures: Sequence[Figure]) -> Iterator[str]:
    """Write settings, one table with a column for each peer, and what a peer does better."""
    peers = list(dict.fromkeys(figure.compared_to for figure in figures if figure.compared_to))
    yield from _tell_settings(peers)
    heads = "".join(f" {peer} | ratio |" for peer in peers)
    yield f"\n| | at | ours |{heads}"
    yield "|---|---:|---:|" + "---:|---:|" * len(peers)
    for name in dict.fromkeys(figure.name for figure in figures):
        yield _row([figure for figure in figures if figure.name == name], peers)
    better = find_better(figures)
    yield "\nA peer is better in:\n" if better else "\nNo peer is better in any of these."
    yield from (f"- {line}" for line in better)


def summarise_peers(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Return one JSON object for each measure, with ``ours`` and each peer's value by its name.

    Its ``name`` is ``peers: hop``, ``peers: fan-out 50`` (the total, median) and so on.
    """
    found: dict[str, dict[str, Any]] = {}
    for figure in figures:
        name = _short_name(figure.name) if figure.subject == "peers" else ""
        if not name:
            continue
        one = found.setdefault(name, {"name": name, "unit": figure.unit, "ours": figure.value})
        if figure.compared is not None:
            one[figure.compared_to.split()[0].lower()] = figure.compared
    return list(found.values())


def _short_name(name: str) -> str:
    graph, _, measure = name.partition(": ")
    if measure == "total, median":
        return f"peers: {graph}"
    if measure == "hop, median" and graph.startswith("chain"):
        return "peers: hop"
    return f"peers: {name}" if name.startswith("idle") else ""


def find_better(figures: Iterable[Figure]) -> list[str]:
    """List in words each figure in which a peer has less than we have; less is always better."""
    return [
        f"{figure.name}: {_number(figure.compared)} {figure.unit} in {figure.compared_to}, "
        f"{_number(figure.value)} in ours"
        for figure in figures
        if figure.compared is not None and figure.compared < figure.value
    ]


def _tell_settings(peers: Sequence[str]) -> Iterator[str]:
    for title in ["ours", *peers]:
        settings = SETTINGS[title.split()[0]]
        yield f"\nSettings, {title}: " + "; ".join(f"`{k}` {v}" for k, v in settings.items()) + "."


def _row(figures: Sequence[Figure], peers: Sequence[str]) -> str:
    first = figures[0]
    of_peer = {figure.compared_to: figure for figure in figures}
    cells = [first.name, f"{first.at:,}" if first.at is not None else ""]
    cells.append(f"{_number(first.value)} {first.unit}")
    for peer in peers:
        compared = of_peer[peer].compared
        ratio = of_peer[peer].ratio
        cells.append(f"{_number(compared)} {first.unit}" if compared is not None else "none")
        cells.append(f"{ratio:.2f}" if ratio is not None else "")
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
