"""Base job templates of the types of work pool that this project starts workers for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from libs.adapters.prefect import process_template

TEMPLATES: dict[str, Callable[[], Mapping[str, Any]]] = {"process": process_template}
"""By type. For any other type the first worker of the pool brings its own template."""


def base_job_template(pool_type: str) -> Mapping[str, Any] | None:
    """The template for a new pool of this type; None leaves it to the worker."""
    make = TEMPLATES.get(pool_type)
    return None if make is None else make()
