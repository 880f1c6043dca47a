"""Base job templates of the types of work pool that this project starts workers for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_instances.libs.adapters.prefect import PrefectGateway

IMAGE = "prefect-instances"
"""The image that ``deployments/Dockerfile`` builds; a registry goes before it in the template."""

ENGINE_COMMAND = "python -m prefect.engine"
"""Starts a flow run in one interpreter.

Without a command the process worker starts another one first, only to prepare the workspace of
flows whose code has to be fetched. ``python`` is found on the worker's PATH.
"""

DEFAULTS: dict[str, Mapping[str, Any]] = {
    "process": {},
    "docker": {"image": IMAGE, "auto_remove": True},
    "kubernetes": {"image": IMAGE, "namespace": "instances", "finished_job_ttl": 3600},
}
"""Our values of job variables by type of pool; workers of other types register their template."""


def base_job_template(gateway: PrefectGateway, pool_type: str) -> Mapping[str, Any] | None:
    """Return the template for a new pool of this type; None leaves it to the worker."""
    if pool_type not in DEFAULTS:
        return None
    defaults = {"command": ENGINE_COMMAND, **DEFAULTS[pool_type]}
    return gateway.read_worker_template(pool_type, defaults)
