"""Output: JSON documents, tables and one-line messages.

Results go to stdout, everything else to stderr. A terminal gets colours and boxes; a pipe gets
aligned plain text that is not wrapped. Only what is far too long for a table is shortened;
``--json`` has it whole.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import typer

from prefect_instances.libs.core.texts import shorten_line

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USAGE = 2
NOT_READY = 3
"""Exit codes other than 0; typer also uses 2 for wrong usage."""

CELL_WIDTH = 120
"""Characters of a cell of a table; longer text is shortened."""

WHOLE = frozenset({"found", "what to do", "remedy", "id", "version id"})
"""Columns that are never shortened: what a person copies, and what to do."""

STATUS_STYLES = {
    "READY": "green",
    "RUNNING": "cyan",
    "STALE": "yellow",
    "ERROR": "red",
    "NOT_INITIALIZED": "bright_black",
    "FRESH": "green",
    "REFRESHING": "cyan",
    "FAILED": "red",
    "SOURCE_DELAYED": "yellow",
    "UNKNOWN": "bright_black",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "completed": "green",
    "failed": "red",
    "crashed": "red",
    "cancelled": "yellow",
    "running": "cyan",
}
"""Colours of the names of states."""


def console(*, stderr: bool = False) -> Console:
    """Return a rich console on the current stdout or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def emit_json(document: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=2, default=_encode))


def emit_document(document: Mapping[str, Any]) -> None:
    """Print a nested document as YAML, in its own order."""
    import yaml

    plain = json.loads(json.dumps(document, default=_encode))
    print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100), end="")


def emit_rows(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: boxed on a terminal, aligned columns otherwise."""
    if sys.stdout.isatty():
        console().print(rich_table(headers, rows), soft_wrap=False)
        return
    for line in plain_rows(headers, rows):
        print(line)


def shorten_cells(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows with every cell on one line of at most ``CELL_WIDTH`` characters.

    The columns in ``WHOLE`` stay as they are.
    """
    return [
        [
            cell if header in WHOLE else shorten_line(cell, CELL_WIDTH)
            for header, cell in zip(headers, row, strict=True)
        ]
        for row in rows
    ]


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """Build a rich table of plain cells; cells with the name of a state are coloured."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(*headers, box=SIMPLE_HEAD, pad_edge=False)
    for row in shorten_cells(headers, rows):
        table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell, "")) for cell in row))
    return table


def plain_rows(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format the table as lines of aligned columns, upper-case headers first."""
    every = [[header.upper() for header in headers], *shorten_cells(headers, rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(headers))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


def warn(message: str) -> None:
    """Print one line on stderr."""
    print(message, file=sys.stderr)


def end_not_ready(lines: Sequence[str]) -> None:
    """Print the lines about instances that are not READY; if there are any, exit with NOT_READY."""
    for line in lines:
        warn(f"instances: {line}")
    if lines:
        raise typer.Exit(NOT_READY)


def format_age(moment: datetime | str | None, now: datetime) -> str:
    """Return the time since ``moment`` in the largest fitting unit: ``3 min``; empty for None."""
    if moment is None:
        return ""
    then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    seconds = max(0.0, (now - then).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_cell(value: object) -> str:
    """Format a value as a table cell: empty for None, ISO for dates, times to the second."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _encode(value: object) -> object:
    """Convert a value that JSON cannot represent."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value)
