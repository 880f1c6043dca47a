"""The lifecycle flows' deployments, read from ``prefect.yaml``.

The file is the one list of them, because ``prefect deploy`` can read nothing else; so this module
reads it too. What it uses of the file's format is little, and it refuses the rest rather than
deploy something other than ``prefect deploy`` would.
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
"""Carried by what the file lists, so that what it lists no more can be told and deleted."""

SCHEDULES: Mapping[str, Every] = {
    SWEEP: Every(60, yields=True),
    RECONCILE: Every(900, yields=True),
}
"""When lifecycle flows run by themselves, unless a person changed that or switched it off."""

KEEP = "prefect_instances.deployments.deploy_hook.keep_what_people_set"
"""The one step that the file may have: only ``prefect deploy`` needs it."""

_TOP = frozenset({"name", "prefect-version", "build", "push", "pull", "deployments"})
_ENFORCE = "enforce_parameter_schema"
_DEPLOYMENT = frozenset({"name", "entrypoint", "tags", "parameters", "work_pool", _ENFORCE})


def definition_file() -> Path:
    """Return the path of ``prefect.yaml``, which the package holds."""
    return Path(str(files("prefect_instances") / FILE_NAME))


def lifecycle_plans(
    pool: str = WORK_POOL, sweep_seconds: int | None = None, path: Path | None = None
) -> list[DeploymentPlan]:
    """Plans of all lifecycle deployments, in the file's order, their flows imported.

    ``pool`` is the work pool that they run in, whatever the file says; ``sweep_seconds`` the time
    between two sweeps, None where nobody asked for one: a new deployment then has the usual one,
    and one that a person changed stays. Raises InvalidSpec for a file that says more than is
    understood here.
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
    """Everything in the file that this module would not honour as ``prefect deploy`` does."""
    yield from _unknown(document, _TOP, FILE_NAME)
    for step in ("build", "push", "pull"):
        if document.get(step) and (step, document[step]) != ("build", [{KEEP: {}}]):
            yield Problem(step, "steps are not supported: code is installed with the worker")
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
