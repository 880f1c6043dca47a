"""What MLflow and Evidently lack of a model, and what is left over there."""

from __future__ import annotations

from dataclasses import replace

from prefect_instances.libs.core.audit import Fault
from prefect_instances.libs.core.audit_models import (
    ModelRecords,
    ModelTraces,
    Trace,
    audit_model,
)
from prefect_instances.libs.core.status import RunStatus

MODEL = ModelRecords("p/m", "1", {"t1": RunStatus.COMPLETED}, logged=("a",), reports=("r",))
FOUND = ModelTraces((Trace("a", "t1"),), (Trace("1", "t1"),), "1", reports=("r",))


def told(model: ModelRecords, found: ModelTraces) -> list[tuple[Fault, str]]:
    return [(one.kind, one.detail) for one in audit_model(model, found)]


def test_what_agrees_has_no_finding_and_what_was_not_looked_at_neither() -> None:
    assert told(MODEL, FOUND) == []
    assert told(MODEL, ModelTraces()) == []


def test_a_lost_version_lost_files_and_a_lost_alias_are_told_apart() -> None:
    gone = "version 1, which serves, is not in MLflow"
    assert told(MODEL, replace(FOUND, registered=())) == [(Fault.LOST, gone)]
    files = "the files of version 1, which serves, are gone"
    assert told(MODEL, replace(FOUND, served_files=False)) == [(Fault.LOST, files)]
    alias = "no version is champion in MLflow; version 1 serves"
    assert told(MODEL, replace(FOUND, champion=None)) == [(Fault.LOST, alias)]


def test_a_champion_that_a_person_moved_is_no_finding() -> None:
    more = (*FOUND.registered, Trace("2", "t1"))
    assert told(MODEL, replace(FOUND, registered=more, champion="2")) == []


def test_what_a_dead_run_left_is_orphaned_and_evidence_of_a_failed_one_is_not() -> None:
    more = replace(FOUND, logged=(*FOUND.logged, Trace("b", "t2")))
    for status in (RunStatus.RUNNING, RunStatus.FAILED):
        assert told(replace(MODEL, runs={**MODEL.runs, "t2": status}), more) == []
    for status in (RunStatus.CRASHED, RunStatus.CANCELLED):
        [(kind, detail)] = told(replace(MODEL, runs={**MODEL.runs, "t2": status}), more)
        assert (kind, detail.rpartition(": ")[2]) == (Fault.ORPHANED, "b")


def test_a_report_that_is_gone_is_lost_and_one_of_nobody_orphaned() -> None:
    [(lost, _)] = told(MODEL, replace(FOUND, reports=()))
    [(loose, _)] = told(MODEL, replace(FOUND, reports=("r", "s")))
    assert (lost, loose) == (Fault.LOST, Fault.ORPHANED)
    monitoring = replace(MODEL, runs={**MODEL.runs, "m": RunStatus.RUNNING})
    assert told(monitoring, replace(FOUND, reports=("r", "s"))) == []
