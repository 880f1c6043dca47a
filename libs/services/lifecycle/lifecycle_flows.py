"""The deployments of the lifecycle flows, read from ``prefect.yaml``.

That file is their only list, because ``prefect deploy`` can read nothing else; so this module reads
it too. It supports a small part of the file's format and refuses the rest, so that it never deploys
something other than ``prefect deploy`` would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from prefect_instances.libs.adapters.prefect import DeploymentPlan, Every, describe_flow
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.ids import WORK_POOL

FILE_NAME = "prefect.yaml"
SWEEP = "sweep-freshness/default"
RECONCILE = "reconcile/default"
LIFECYCLE_TAG = "instances-lifecycle"
"""Tag of these deployments, by which those that left the file can be found and deleted."""

SCHEDULES: Mapping[str, Every] = {
    SWEEP: Every(60, yields=True),
    RECONCILE: Every(900, yields=True),
}
"""Default schedules of lifecycle flows; a person may change them or switch them off."""

KEEP = "prefect_instances.deployments.deploy_hook.keep_what_people_set"
"""The only step that the file may have; only ``prefect deploy`` needs it."""

_TOP = frozenset({"name", "prefect-version", "build", "push", "pull", "deployments"})
_ENFORCE = "enforce_parameter_schema"
_DEPLOYMENT = frozenset({"name", "entrypoint", "tags", "parameters", "work_pool", _ENFORCE})


def definition_file() -> Path:
    """Return the path of ``prefect.yaml``, which is part of the package."""
    return Path(str(files("prefect_instances") / FILE_NAME))


def lifecycle_plans(
    pool: str = WORK_POOL, sweep_seconds: int | None = None, path: Path | None = None
) -> list[DeploymentPlan]:
    """Read the plans of all lifecycle deployments, in the file's order; this imports their flows.

    ``pool`` is the work pool that they run in, whatever the file says. ``sweep_seconds`` is the
    time between two sweeps; None: a new deployment gets the default, and one that a person changed
    stays. Raises InvalidSpec for a file with content that is not supported here.
    """
    document = yaml.safe_load((path or definition_file()).read_text())
    if problems := list(_problems(document)):
        raise InvalidSpec(problems)
    plans = [_plan(entry, pool) for entry in document["deployments"]]
    if sweep_seconds is None:
        return plans
    swept = Every(sweep_seconds)
    return [replace(plan, schedule=swept) if plan.full_name == SWEEP else plan for plan in plans]


def _plan(entry: Mapping[str, Any], pool: str) -> DeploymentPlan:
    flow = describe_flow(entry["entrypoint"])
    return DeploymentPlan(
        flow_name=flow.name,
        name=entry["name"],
        entrypoint=flow.entrypoint,
        parameter_schema=flow.parameter_schema,
        parameters=entry.get("parameters") or {},
        tags=tuple(entry.get("tags") or ()),
        description=flow.description,
        schedule=SCHEDULES.get(f"{flow.name}/{entry['name']}"),
        work_pool=pool,
        enforce_schema=entry.get(_ENFORCE, True),
    )


def _problems(document: Any) -> Iterable[Problem]:
    """Yield a problem for each part of the file that only ``prefect deploy`` supports."""
    yield from _unknown(document, _TOP, FILE_NAME)
    for step in ("build", "push", "pull"):
        if document.get(step) and (step, document[step]) != ("build", [{KEEP: {}}]):
            yield Problem(
                step,
                "remove these steps: they are not supported; the worker has the code installed",
            )
    if document.get("pull") is None:
        yield Problem("pull", "write `pull: []`, otherwise deployments store this directory")
    for index, entry in enumerate(document.get("deployments") or []):
        yield from _entry_problems(entry, f"deployments[{index}]")


def _entry_problems(entry: Mapping[str, Any], path: str) -> Iterable[Problem]:
    yield from _unknown(entry, _DEPLOYMENT, path)
    for name in ("name", "entrypoint"):
        if not entry.get(name):
            yield Problem(f"{path}.{name}", "is missing")
    if LIFECYCLE_TAG not in (entry.get("tags") or ()):
        yield Problem(f"{path}.tags", f"must contain {LIFECYCLE_TAG!r}")


def _unknown(mapping: Mapping[str, Any], known: frozenset[str], path: str) -> Iterable[Problem]:
    return (Problem(f"{path}.{key}", "is not supported") for key in mapping.keys() - known)
