"""Text that people read in tables."""

from __future__ import annotations


def shorten_line(text: str, width: int) -> str:
    """Return the text as one line of at most ``width`` characters; an ellipsis marks a cut."""
    line = " ".join(text.split("\n"))
    return line if len(line) <= width else f"{line[: width - 1]}…"
