"""Base job templates of the types of work pool that this project starts workers for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_instances.libs.adapters.prefect import container_template, process_template

IMAGE = "prefect-instances"
"""The image that ``deployments/Dockerfile`` builds; a registry goes before it in the template."""

TEMPLATES: dict[str, Callable[[], Mapping[str, Any]]] = {
    "process": process_template,
    "docker": partial(container_template, "docker", IMAGE, auto_remove=True),
    "kubernetes": partial(
        container_template, "kubernetes", IMAGE, namespace="instances", finished_job_ttl=3600
    ),
}
"""Templates by type of pool. For other types the first worker registers its own template."""


def base_job_template(pool_type: str) -> Mapping[str, Any] | None:
    """Return the template for a new pool of this type; None leaves it to the worker."""
    make = TEMPLATES.get(pool_type)
    return None if make is None else make()
