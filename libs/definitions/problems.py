"""Messages about mistakes in a declaration or a configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic_core import ErrorDetails

from prefect_instances.libs.core.errors import Problem


def suggest_closest(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` with its leading comma, or "" if no known word is similar.

    Letters are compared without their case.
    """
    lowered = {one.lower(): one for one in known}
    matches = difflib.get_close_matches(word.lower(), list(lowered), n=1)
    return f", did you mean {lowered[matches[0]]!r}?" if matches else ""


def build_config_problem(detail: ErrorDetails, fields: Mapping[str, object]) -> Problem:
    """Return pydantic's error as a problem under ``config``; ``fields`` are the known fields."""
    path = "config"
    for step in detail["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    if detail["type"] == "extra_forbidden":
        name = str(detail["loc"][-1])
        hint = suggest_closest(name, fields) if len(detail["loc"]) == 1 else ""
        return Problem(path, f"is not a parameter{hint}")
    return Problem(path, detail["msg"].removeprefix("Value error, "))
