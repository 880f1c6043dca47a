"""Which data files the versions of a Delta Lake table need, from the commits of its log."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote


def needed_files(commits: Sequence[tuple[int, str]], kept: list[int]) -> set[str] | None:
    """Return the names of the data files of the table versions ``kept`` (ascending).

    The commits are read once, for any number of versions. ``None`` if the log has a gap: then the
    needed files are unknown.
    """
    if [number for number, _ in commits] != list(range(len(commits))):
        return None
    since: dict[str, int] = {}
    needed: set[str] = set()

    def close(name: str, end: int) -> None:
        start = since.pop(name, end)
        at = bisect_left(kept, start)
        if at < len(kept) and kept[at] < end:
            needed.add(name)

    for number, text in commits:
        for action in _actions(text):
            if "remove" in action:
                close(unquote(action["remove"]["path"]), number)
            elif "add" in action:
                since.setdefault(unquote(action["add"]["path"]), number)
    for name in list(since):
        close(name, len(commits))
    return needed


def _actions(commit: str) -> Iterator[dict[str, Any]]:
    for line in commit.splitlines():
        if line.strip():
            yield json.loads(line)
