"""Markdown of pages as HTML."""

from __future__ import annotations


def render_markdown(text: str) -> str:
    """Render Markdown with tables as HTML; HTML in it stays text, images may be data URIs."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
