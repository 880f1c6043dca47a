"""Text that people read: in tables, and in what a database keeps."""

from __future__ import annotations


def shorten_line(text: str, width: int) -> str:
    """Return the text as one line of at most ``width`` characters; an ellipsis marks a cut."""
    line = " ".join(text.split("\n"))
    return line if len(line) <= width else f"{line[: width - 1]}…"


def escape_unstorable(text: str) -> str:
    """Return the text with escapes for what no database keeps: lone surrogates and NUL.

    They come with file names that are no UTF-8, and with the messages of other programs.
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
