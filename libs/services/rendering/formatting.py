"""Format numbers for people."""

from __future__ import annotations


def format_value(value: object) -> str:
    """Format a float with four decimals, or none if it is whole; convert others to text."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:z.4f}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
