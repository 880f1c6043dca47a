"""Numbers as people read them on pages."""

from __future__ import annotations


def shown(value: object) -> str:
    """Four decimals, none where there is nothing behind the point; anything else as it is."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:z.4f}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
