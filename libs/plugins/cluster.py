"""What the executors of clusters have in common: parameters, and the versions of their workers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from pydantic import Field

from prefect_instances.libs.definitions.executor import Executor

ALIKE = ("prefect-instances", "polars")
"""Packages that have the same version on both sides: both compute, and parts are pickled."""


class ClusterConfig(Executor.Config):
    """Parameters of an executor that sends parts to a cluster; each describes its own address."""

    address: str
    pieces: int = Field(
        default=8, ge=1, le=1000, description="Parts into which the symbols are divided."
    )
    timeout_seconds: float = Field(
        default=10, gt=0, description="Seconds until the cluster counts as not reachable."
    )


def read_versions() -> dict[str, str]:
    """Read the versions of ``ALIKE`` in this process; raise PackageNotFoundError without one."""
    return {package: version(package) for package in ALIKE}


def compare_versions(theirs: Mapping[str, str] | Exception) -> str:
    """Return what a worker must have instead of ``theirs``, in one line; empty if it has it.

    ``theirs`` are the versions that ``read_versions`` found there, or its error.
    """
    mine = read_versions()
    if theirs == mine:
        return ""
    there = f"{theirs}" if isinstance(theirs, Exception) else _list(theirs)
    return f"must have {_list(mine)}, not: {there}".splitlines()[0]


def _list(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())
