"""Events tell of changes and of nothing else; automations can rely on their shape."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.core.status import MESSAGES, FlowStatus, Reason, RunStatus
from tests.property.graphs import PROJECT, FlowSpec, Graph, chain, flow_id, model, named
from tests.property.scene import Scene, wish


def names(scene: Scene) -> list[str]:
    return sorted(event.name for event in scene.told)


def told(scene: Scene, name: str) -> Event:
    (event,) = [event for event in scene.told if event.name == name]
    return event


@pytest.mark.parametrize(
    ("status", "name"),
    [
        pytest.param(FlowStatus.READY, "instance.flow.ready", id="ready"),
        pytest.param(FlowStatus.STALE, "instance.flow.stale", id="stale"),
        pytest.param(FlowStatus.ERROR, "instance.flow.error", id="error"),
        pytest.param(FlowStatus.RUNNING, "instance.flow.running", id="running"),
        pytest.param(FlowStatus.NOT_INITIALIZED, "instance.flow.not-initialized", id="never-ran"),
    ],
)
def test_a_status_has_its_event(status: FlowStatus, name: str) -> None:
    assert ids.flow_event(status) == name


def test_every_reason_has_a_stable_message() -> None:
    assert set(MESSAGES) == set(Reason)
    assert len(set(MESSAGES.values())) == len(MESSAGES)
    assert not any(character.isdigit() for text in MESSAGES.values() for character in text)


def test_a_start_tells_of_flow_and_instance() -> None:
    scene = Scene(chain())
    scene.begin("A", wish())
    assert names(scene) == ["instance.flow.running", "instance.status.changed"]


def test_a_publication_tells_of_all_that_it_changes() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.finish("A")
    assert names(scene) == [
        "instance.flow.ready",
        "instance.flow.stale",
        "instance.flow.stale",
        "instance.gate.opened",
        "instance.status.changed",
        "instance.status.changed",
        "instance.status.changed",
    ]


def test_another_reason_for_the_same_status_is_told() -> None:
    scene = Scene.ready(chain())
    scene.pause("B")
    scene.run("A")
    scene.reconfigure("B")
    assert names(scene) == ["instance.flow.stale"]
    assert told(scene, "instance.flow.stale").payload["reason"] == "ConfigChanged"


def test_the_same_status_and_reason_again_are_not_told() -> None:
    scene = Scene.ready(chain())
    scene.pause("B")
    scene.run("A")
    since = scene.flow("B").since
    scene.begin("A", wish())
    scene.finish("A")
    assert "instance.flow.stale" not in names(scene)
    assert scene.flow("B").since == since


def test_an_instance_is_told_of_only_when_its_aggregate_changes() -> None:
    scene = Scene.ready(model())
    scene.begin("training", wish())
    assert names(scene) == ["instance.flow.running", "instance.status.changed"]
    scene.begin("monitoring", wish())
    assert names(scene) == ["instance.flow.running"]


def test_a_status_change_says_from_what_to_what() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    event = told(scene, ids.STATUS_CHANGED)
    assert event.payload == {
        "instance": "A",
        "project": PROJECT,
        "type": "DatasetInstance",
        "old_status": "READY",
        "status": "RUNNING",
    }
    assert event.resource["prefect.resource.id"] == f"instance.{named('instance', 'A')}"


def test_a_flow_event_describes_its_flow() -> None:
    scene = Scene.ready(chain())
    scene.begin("B", wish())
    scene.end("B", RunStatus.FAILED, "no such column")
    event = told(scene, "instance.flow.error")
    assert event.resource == {
        "prefect.resource.id": f"instance.flow.{flow_id('B')}",
        "prefect.resource.name": "demo/B.refresh",
    }
    assert event.occurred == scene.now
    expected = {
        "instance": "B",
        "project": PROJECT,
        "flow_kind": "refresh",
        "status": "ERROR",
        "old_status": "RUNNING",
        "reason": "RunFailed",
        "message": "no such column",
        "generation": 1,
        "expected_refresh_at": None,
        "overdue_hours": None,
    }
    assert expected.items() <= event.payload.items()


def test_a_message_without_detail_is_the_stable_one() -> None:
    scene = Scene.ready(chain())
    scene.reconfigure("C")
    event = told(scene, "instance.flow.stale")
    assert event.payload["message"] == MESSAGES[Reason.CONFIG_CHANGED]


def test_staleness_says_when_a_refresh_is_expected_and_how_late_it_is() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.finish("A", same=True, due_in=1)
    due = scene.flow("A").next_due_at
    scene.pass_time(3)
    event = told(scene, "instance.flow.stale")
    assert due is not None
    assert event.payload["expected_refresh_at"] == due.isoformat()
    late = (scene.now - due) / timedelta(hours=1)
    assert event.payload["overdue_hours"] == pytest.approx(late, abs=0.001)


def test_what_is_not_yet_due_is_not_late() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    scene.finish("A", due_in=5)
    assert told(scene, "instance.flow.ready").payload["overdue_hours"] == 0


def test_an_opening_names_its_deployment_first() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    event = told(scene, ids.GATE_OPENED)
    opening = scene.opening_of("B")
    assert event.related[0] == {
        "prefect.resource.id": f"prefect.deployment.{named('deployment', 'B')}",
        "prefect.resource.role": "deployment",
    }
    assert [labels["prefect.resource.role"] for labels in event.related] == [
        "deployment",
        "instance",
        "project",
    ]
    assert event.payload["opening"] == str(opening.id)
    assert event.payload["attempt"] == 1
    assert event.payload["not_before"] == opening.not_before.isoformat()
    assert event.payload["inputs"] == {str(flow_id("A")): 2}


def test_the_status_of_an_instance_names_its_deployments_and_its_project() -> None:
    scene = Scene.ready(chain())
    scene.begin("A", wish())
    event = told(scene, ids.STATUS_CHANGED)
    assert [labels["prefect.resource.role"] for labels in event.related] == [
        "deployment",
        "instance",
        "project",
    ]


def test_a_flow_without_a_deployment_names_none() -> None:
    scene = Scene(chain())
    bare = replace(scene.flow("A"), deployment_id=None)
    flows = {**scene.backend.state.flows, bare.id: bare}
    scene.backend.state = replace(scene.backend.state, flows=flows)
    scene.begin("A", wish())
    roles = [d["prefect.resource.role"] for d in told(scene, "instance.flow.running").related]
    assert roles == ["instance", "project"]


def test_events_can_be_written_as_json_and_have_ids_of_their_own() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    assert len({event.id for event in scene.told}) == len(scene.told)
    for event in scene.told:
        json.dumps([dict(event.resource), *map(dict, event.related), dict(event.payload)])


def test_a_kind_that_a_definition_added_is_told_by_its_name() -> None:
    scene = Scene(Graph((FlowSpec("A", "audit"),)))
    scene.begin("A", wish())
    event = told(scene, "instance.flow.running")
    assert event.payload["flow_kind"] == "audit"
    assert event.resource["prefect.resource.name"] == "demo/A.audit"
