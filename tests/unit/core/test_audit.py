"""The audit of the records: nothing in a healthy history, and each contradiction by its kind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from prefect_instances.libs.core.audit import Fault, Records, StoredVersion, audit_records
from prefect_instances.libs.core.records import Region, Run
from prefect_instances.libs.core.status import Cause, FlowStatus, Reason, RunStatus
from tests.property.backend import live
from tests.property.graphs import chain, diamond, flow_id
from tests.property.scene import Scene, wish


def records_of(scene: Scene) -> Records:
    """All that a database would hold of a scene."""
    state: Region = scene.backend.snapshot()
    ended = [run for run in state.runs.values() if run.status is RunStatus.COMPLETED]
    versions: dict[UUID, dict[UUID, UUID]] = defaultdict(dict)
    for run in sorted(ended, key=lambda run: run.started_at):
        if run.output_version is not None:
            versions[run.flow_id].setdefault(run.output_version, run.id)
    stored = [
        StoredVersion(id_, flow, number, "somewhere", run_id)
        for flow, some in versions.items()
        for number, (id_, run_id) in enumerate(some.items(), 1)
    ]
    return Records(live(state), state.runs, tuple(stored))


def told(records: Records, scene: Scene) -> list[tuple[Fault, str]]:
    return [(f.kind, f.subject.rpartition("/")[2]) for f in audit_records(records, scene.now)]


def with_flow(records: Records, name: str, **changes: Any) -> Records:
    """The records with one flow changed behind everybody's back."""
    flow = replace(records.region.flows[flow_id(name)], **changes)
    region = replace(records.region, flows={**records.region.flows, flow.id: flow})
    return replace(records, region=region)


def with_run(records: Records, run: Run) -> Records:
    """The records with one more run, or another state of one."""
    return replace(records, runs={**records.runs, run.id: run})


def test_a_healthy_history_has_no_finding() -> None:
    scene = Scene.ready(diamond())
    assert told(records_of(scene), scene) == []
    scene.run("A")
    scene.begin("B")
    assert told(records_of(scene), scene) == []
    scene.end("B", RunStatus.CRASHED)
    assert told(records_of(scene), scene) == []


def test_a_flow_that_waits_for_a_run_that_is_over_is_stuck() -> None:
    scene = Scene.ready(chain())
    run = scene.begin("A", wish())
    dead = replace(run, status=RunStatus.CRASHED, ended_at=scene.now, lease_until=None)
    found = told(with_run(records_of(scene), dead), scene)
    assert (Fault.STUCK, "A.refresh") in found
    assert {kind for kind, _ in found} == {Fault.STUCK}


def test_a_second_run_in_progress_is_doubled() -> None:
    scene = Scene.ready(chain())
    run = scene.begin("A", wish())
    beside = replace(run, id=uuid4(), prefect_flow_run_id=uuid4(), opening_id=None, request_id=None)
    assert told(with_run(records_of(scene), beside), scene) == [(Fault.DOUBLED, "A.refresh")]


def test_work_that_succeeded_twice_is_doubled() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    once = scene.run("B")
    ended = scene.backend.snapshot().runs[once.id]
    assert ended.cause is Cause.GATE
    twice = replace(ended, id=uuid4(), prefect_flow_run_id=uuid4(), opening_id=None)
    assert told(with_run(records_of(scene), twice), scene) == [(Fault.DOUBLED, "B.refresh")]
    of_one_opening = replace(twice, opening_id=ended.opening_id, pins=())
    found = told(with_run(records_of(scene), of_one_opening), scene)
    assert found == [(Fault.DOUBLED, "B.refresh")]


def test_a_forced_run_on_the_same_inputs_is_not_doubled() -> None:
    scene = Scene.ready(chain())
    scene.run("B", force=True)
    scene.run("B", force=True)
    assert told(records_of(scene), scene) == []


def test_a_generation_without_its_version_is_lost() -> None:
    scene = Scene.ready(chain())
    records = replace(records_of(scene), versions=())
    names = [flow.name for flow in chain().flows]
    assert told(records, scene) == [(Fault.LOST, f"{name}.refresh") for name in names]


def test_a_version_of_a_run_that_did_not_succeed_is_doubled() -> None:
    scene = Scene.ready(chain())
    records = records_of(scene)
    version = next(one for one in records.versions if one.flow_id == flow_id("A"))
    crashed = replace(records.runs[version.run_id], status=RunStatus.CRASHED)
    assert told(with_run(records, crashed), scene) == [(Fault.DOUBLED, "A.refresh")]


def test_an_opening_that_vanished_is_lost() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    records = records_of(scene)
    region = replace(records.region, openings={})
    # The flow remembers for what its gate has opened: without that it would open again.
    lost = with_flow(replace(records, region=region), "B", opened_key="")
    assert told(lost, scene) == [(Fault.LOST, "B.refresh")]


def test_ready_on_old_inputs_is_lost() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    records = records_of(scene)
    hidden = with_flow(records, "B", status=FlowStatus.READY, reason=Reason.RUN_SUCCEEDED)
    assert (Fault.LOST, "B.refresh") in told(hidden, scene)


def test_stale_on_current_inputs_is_stuck() -> None:
    scene = Scene.ready(chain())
    left = {"status": FlowStatus.STALE, "reason": Reason.UPSTREAM_ADVANCED}
    found = told(with_flow(records_of(scene), "B", **left), scene)
    assert found == [(Fault.STUCK, "B.refresh")]


def test_a_finding_names_the_command_that_mends_it() -> None:
    scene = Scene.ready(chain())
    records = replace(records_of(scene), versions=())
    first = audit_records(records, scene.now)[0]
    instance = first.subject.rpartition(".")[0]
    assert f"instances run {instance} --flow refresh" in first.remedy
    assert first.row()["fault"] is True
