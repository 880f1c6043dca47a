"""Preserve people's settings during ``prefect deploy``; a build step of ``prefect.yaml``.

``prefect deploy`` resumes every deployment and removes its concurrency limit, and the file has no
option to keep them. The step therefore reads both before the first deployment is written, and
restores them when the command ends.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from prefect_instances.libs.adapters.prefect import (
    DeploymentView,
    PrefectGateway,
    read_configured_api_url,
)
from prefect_instances.libs.services.lifecycle.lifecycle_flows import LIFECYCLE_TAG


def keep_what_people_set() -> dict[str, Any]:
    """Record which lifecycle deployments are paused or limited, and restore that at the end.

    Prefect calls it before each deployment; only the first call reads. It returns no values for the
    file. Raises Unavailable if the server does not answer; then nothing is deployed.
    """
    _keep_once()
    return {}


@cache
def _keep_once() -> None:
    if read_configured_api_url() is None:
        return  # A temporary server is empty.
    with PrefectGateway.connect() as gateway:
        views = gateway.list_deployments_tagged(LIFECYCLE_TAG)
    kept = [view for view in views if view.paused or view.concurrency_limit is not None]
    if kept:
        atexit.register(partial(put_back, kept))


def put_back(kept: Iterable[DeploymentView]) -> None:
    """Pause and limit the deployments as they were before."""
    with PrefectGateway.connect() as gateway:
        for before in kept:
            now = gateway.find_deployment(before.id)
            if now is None:
                continue
            limit = before.concurrency_limit
            if limit is not None and limit != now.concurrency_limit:
                gateway.limit_deployment(before.id, limit, before.stored["concurrency_options"])
            if before.paused and not now.paused:
                gateway.set_deployment_paused(before.id, True)
