"""Tables that a notebook shows: a frame with a title, coloured by status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.services.rendering.diagrams import COLOURS

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 200
"""How many rows a page shows; the frame has them all."""

STATUS_OF_RUN = {
    "completed": "READY",
    "running": "RUNNING",
    "failed": "ERROR",
    "crashed": "ERROR",
    "cancelled": "STALE",
}
"""The status with whose colour Prefect's pages show the state of a run."""

_TABLE = "border-collapse:collapse;font-size:13px"
_CELL = "text-align:left;padding:2px 10px 2px 0;border-bottom:1px solid #e5e7eb"


@dataclass(frozen=True)
class Table:
    """Rows to look at and to compute with: ``frame`` is a polars frame, ``title`` a sentence.

    A notebook shows it as a coloured table. Iterating yields one dict for each row. The columns in
    ``hidden`` are in the frame only, not in what is shown as text.
    """

    title: str
    frame: pl.DataFrame
    hidden: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.frame.height

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.frame.iter_rows(named=True)

    def __repr__(self) -> str:
        return f"{self.title}\n{format_frame(self.frame.drop(self.hidden))}"

    def _repr_html_(self) -> str:
        return draw_table(self.title, self.frame)


def format_frame(frame: pl.DataFrame) -> str:
    """Format a frame as aligned plain text: times to the minute, no types, no empty columns."""
    import polars as pl
    import polars.selectors as cs

    filled = [name for name in frame.columns if frame[name].null_count() < frame.height]
    shown = frame.select(filled).with_columns(cs.datetime().dt.strftime("%Y-%m-%d %H:%M"))

    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=200,
        fmt_str_lengths=60,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
    ):
        return str(shown)


def draw_table(title: str, frame: pl.DataFrame) -> str:
    """Draw a frame as an HTML table; cells with the name of a status are coloured.

    Empty columns are left out, and so are the rows after ``SHOWN_ROWS``; a line counts these.
    """
    shown = frame.head(SHOWN_ROWS)
    columns = [name for name in frame.columns if shown[name].null_count() < shown.height]
    rows = [[row[name] for name in columns] for row in shown.iter_rows(named=True)]
    left = frame.height - shown.height
    more = f"<p>… and {left:,} more rows in <code>.frame</code></p>" if left else ""
    return f"<div><p><b>{escape(title)}</b></p>{draw_rows(columns, rows)}{more}</div>"


def draw_rows(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Draw rows below headers as an HTML table without a title."""
    head = "".join(f'<th style="{_CELL}">{escape(name.replace("_", " "))}</th>' for name in headers)
    body = "".join(f"<tr>{''.join(map(_draw_cell, row))}</tr>" for row in rows)
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _draw_cell(value: object) -> str:
    text = escape(format_cell(value))
    status = STATUS_OF_RUN.get(text, text)
    if status in COLOURS:
        fill, stroke = COLOURS[status].split(",stroke:")
        style = f"background:{fill};border:1px solid {stroke};border-radius:9px;padding:0 8px"
        text = f'<span style="{style};color:#111;white-space:nowrap">{text}</span>'
    return f'<td style="{_CELL}">{text}</td>'


def format_cell(value: object) -> str:
    """Format a value for a table: times in UTC to the minute, numbers with six digits."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_cell, value))
    return str(value)
