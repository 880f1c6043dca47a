"""Every broken graph names its true root causes: in memory, and told from a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libs.core.diagnosis import diagnose
from libs.core.status import FlowStatus, RunStatus
from libs.services.explaining import page, why
from tests.property.broken import BROKEN, Broken
from tests.property.graphs import chain, flow_id, model
from tests.property.scene import Scene
from tests.property.sql_backend import SqlBackend

broken_graphs = pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)


@pytest.fixture
def sql(database_url: str) -> Iterator[SqlBackend]:
    backend = SqlBackend(database_url)
    yield backend
    backend.dispose()


@broken_graphs
def test_the_roots_are_the_true_ones(broken: Broken) -> None:
    scene = broken.scene()

    diagnosis = diagnose(scene.draft(), flow_id(broken.asked))

    names = {flow_id(flow.name): flow.name for flow in broken.graph.flows}
    found = {(names[root.flow_id], root.reason) for root in diagnosis.roots}
    assert found == set(broken.roots)
    assert all(root.remedy for root in diagnosis.roots)
    assert len(diagnosis.chain) == len({finding.flow_id for finding in diagnosis.chain})


@broken_graphs
def test_the_command_and_the_artifact_name_them_from_a_database(
    broken: Broken, sql: SqlBackend
) -> None:
    scene = broken.scene(sql)
    asked = next(flow for flow in broken.graph.flows if flow.name == broken.asked)

    document = why(sql.databases[0], scene.now, asked.owner, asked.kind)

    (entry,) = document["flows"]
    labels = {flow.name: f"{flow.owner}.{flow.kind}" for flow in broken.graph.flows}
    wanted = {(labels[name], reason.value) for name, reason in broken.roots}
    found = {(f"{r['resource']}.{r['flow_kind']}", r["reason"]) for r in entry["roots"]}
    assert found == wanted
    shown = page(document)
    assert shown.count("```") == 2
    for label, reason in wanted:
        assert f"{label}: " in entry["why"]
        assert reason in entry["why"]
        assert label in shown


def test_there_are_ten_of_them_and_more() -> None:
    assert len({broken.name for broken in BROKEN}) >= 10


def test_what_is_ready_waits_for_nothing() -> None:
    scene = Scene.ready(chain())

    diagnosis = diagnose(scene.draft(), flow_id("C"))

    assert diagnosis.roots == ()
    assert diagnosis.subject.status is FlowStatus.READY


def test_an_error_of_its_own_is_not_blamed_on_others() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    scene.begin("B")
    scene.end("B", RunStatus.FAILED, "B broke")

    diagnosis = diagnose(scene.draft(), flow_id("B"))

    assert [root.why for root in diagnosis.roots] == ["B broke"]


def test_every_flow_of_an_instance_is_explained(sql: SqlBackend) -> None:
    Scene(model(), backend=sql)

    document = why(sql.databases[0], sql.now, "model")

    assert [entry["kind"] for entry in document["flows"]] == ["inference", "monitoring", "training"]
    assert not document["ready"]
    assert {root["resource"] for entry in document["flows"] for root in entry["roots"]} == {
        "prices"
    }
