"""Keeping what people set in Prefect through ``prefect deploy``; a build step of ``prefect.yaml``.

``prefect deploy`` writes of every deployment that it is not paused and has no concurrency limit,
whatever it is in Prefect, and the file has no way to say "as it is". The step therefore looks
before the first deployment is written, and puts both back when the command ends.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from prefect_instances.libs.adapters.prefect import (
    DeploymentView,
    PrefectGateway,
    configured_api_url,
)
from prefect_instances.libs.services.lifecycle.lifecycle_flows import LIFECYCLE_TAG


def keep_what_people_set() -> dict[str, Any]:
    """Remember which lifecycle deployments are paused or limited, to put that back at the end.

    Prefect runs it before each deployment; what counts is the first time. It gives the file no
    values. Raises Unavailable where the server does not answer: nothing is deployed then.
    """
    _keep_once()
    return {}


@cache
def _keep_once() -> None:
    if configured_api_url() is None:
        return  # A temporary server is empty.
    with PrefectGateway.connect() as gateway:
        views = gateway.deployments_tagged(LIFECYCLE_TAG)
    kept = [view for view in views if view.paused or view.concurrency_limit is not None]
    if kept:
        atexit.register(partial(put_back, kept))


def put_back(kept: Iterable[DeploymentView]) -> None:
    """Pause and limit the deployments again as they were, wherever they are otherwise now."""
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
