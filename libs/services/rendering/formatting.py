"""Format numbers for people."""

from __future__ import annotations

LARGE = 1000.0
"""From which size on a number has two decimals."""


def format_value(value: object) -> str:
    """Format a float with four decimals, with two from 1,000 on, or none if it is whole.

    Convert others to text.
    """
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}" if abs(value) >= LARGE else f"{value:z.4f}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
