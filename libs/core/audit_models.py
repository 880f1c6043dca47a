"""Audit of one model: what its runs left in MLflow and Evidently against the records; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prefect_instances.libs.core.audit import Fault, Finding
from prefect_instances.libs.core.status import RunStatus

EVIDENCE = frozenset({RunStatus.RUNNING, RunStatus.FAILED})
"""A run in progress may still name what it left; a failed one leaves it for people to look at."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Something in MLflow: its id or number there, and the id of our run that left it."""

    id: str
    run: str


@dataclass(frozen=True)
class ModelTraces:
    """What MLflow and Evidently hold of one model; None if that system was not looked at.

    ``logged`` are MLflow runs, ``registered`` model versions, ``champion`` the version that the
    alias names, ``reports`` ids of Evidently's reports. ``served_files`` is False if the version
    that serves has lost its files.
    """

    logged: tuple[Trace, ...] | None = None
    registered: tuple[Trace, ...] = ()
    champion: str | None = None
    served_files: bool = True
    reports: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelRecords:
    """What the database says of one model.

    ``published`` is the version of the registered model that serves, None before the first.
    ``runs`` are the states of its training and monitoring runs by id; ``logged`` and ``reports``
    what successful runs named, newest first.
    """

    name: str
    published: str | None
    runs: Mapping[str, RunStatus]
    logged: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()


def audit_model(model: ModelRecords, found: ModelTraces) -> list[Finding]:
    """List what MLflow and Evidently lack of a model, and what nobody refers to."""
    return [
        *(_tracking(model, found) if found.logged is not None else ()),
        *(_reports(model, found.reports) if found.reports is not None else ()),
    ]


def _tracking(model: ModelRecords, found: ModelTraces) -> Iterator[Finding]:
    logged, registered = found.logged or (), found.registered
    numbers = {trace.id for trace in registered}
    train = f"`instances run {model.name} --flow training`"
    if model.published and model.published not in numbers:
        detail = f"version {model.published}, which serves, is not in MLflow"
        yield Finding(Fault.LOST, model.name, detail, train)
    elif model.published and not found.served_files:
        detail = f"the files of version {model.published}, which serves, are gone"
        yield Finding(Fault.LOST, model.name, detail, train)
    elif model.published and found.champion is None:
        detail = f"no version is champion in MLflow; version {model.published} serves"
        infer = f"`instances run {model.name} --flow inference`"
        yield Finding(Fault.LOST, model.name, detail, infer)
    if model.logged and model.logged[0] not in {trace.id for trace in logged}:
        detail = f"run {model.logged[0]} of the last training is not in MLflow"
        yield Finding(Fault.LOST, model.name, detail, train)
    named = set(model.logged)
    for what, traces in (("run", logged), ("model version", registered)):
        loose = [t.id for t in traces if _is_loose(model, t, named)]
        if loose:
            yield _orphans(model, f"{what}s in MLflow", loose)


def _is_loose(model: ModelRecords, trace: Trace, named: set[str]) -> bool:
    """Return True if no run on record stands for it."""
    status = model.runs.get(trace.run)
    if status is RunStatus.COMPLETED:
        return trace.id not in named and not trace.id.isdigit()
    return status not in EVIDENCE


def _reports(model: ModelRecords, there: tuple[str, ...]) -> Iterator[Finding]:
    if model.reports and model.reports[0] not in there:
        detail = f"report {model.reports[0]} of the last monitoring is not in Evidently"
        remedy = f"`instances run {model.name} --flow monitoring`"
        yield Finding(Fault.LOST, model.name, detail, remedy)
    loose = sorted(set(there) - set(model.reports))
    if loose and RunStatus.RUNNING not in model.runs.values():
        yield _orphans(model, "reports in Evidently", loose)


def _orphans(model: ModelRecords, what: str, ids: list[str]) -> Finding:
    detail = f"{len(ids)} {what} belong to no run that ended well: {', '.join(ids[:3])}"
    return Finding(Fault.ORPHANED, model.name, detail, "delete them there, or leave them")
