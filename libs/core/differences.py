"""Differences between two JSON documents, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT: Any = None
"""Stands for a value that only one of the documents has."""

SHOWN = 120
"""Number of characters of a value that a line shows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs; ``before`` or ``after`` is None if it is absent there."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


def find_differences(before: Any, after: Any, path: str = "") -> list[Difference]:
    """List every value that differs, with its path (``schedule.expression``, ``refs[1]``)."""
    return list(_walk(before, after, path))


def _walk(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            place = f"{path}.{key}" if path else str(key)
            yield from _walk(before.get(key, ABSENT), after.get(key, ABSENT), place)
    elif _is_list(before) and _is_list(after):
        for at in range(max(len(before), len(after))):
            yield from _walk(_item(before, at), _item(after, at), f"{path}[{at}]")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Difference(path, before, after)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _item(values: Sequence[Any], at: int) -> Any:
    return values[at] if at < len(values) else ABSENT


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(none)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
