"""Every broken graph names its true root causes: in memory, and told from a database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_instances.libs.core.diagnosis import diagnose_each
from prefect_instances.libs.core.status import FlowStatus, RunStatus
from prefect_instances.libs.services.views import explaining
from prefect_instances.libs.services.views.explaining import (
    freshness,
    headline,
    page,
    table,
    why,
)
from tests.databases import on_both_databases
from tests.property.broken import BROKEN, Broken
from tests.property.graphs import chain, flow_id, model, of_pairs
from tests.property.scene import BY_HAND, Scene
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

    diagnosis = diagnose_each(scene.draft(), [flow_id(broken.asked)])[flow_id(broken.asked)]

    names = {flow_id(flow.name): flow.name for flow in broken.graph.flows}
    found = {(names[root.flow_id], root.reason) for root in diagnosis.roots}
    assert found == set(broken.roots)
    assert all(root.remedy for root in diagnosis.roots)
    assert len(diagnosis.chain) == len({finding.flow_id for finding in diagnosis.chain})


@on_both_databases
@broken_graphs
def test_the_command_names_them_from_a_database(broken: Broken, sql: SqlBackend) -> None:
    scene = broken.scene(sql)
    asked = next(flow for flow in broken.graph.flows if flow.name == broken.asked)

    document = why(sql.databases[0], scene.now, asked.owner, asked.kind)

    (entry,) = document["flows"]
    wanted = wanted_roots(broken)
    assert named_roots(entry) == wanted
    for label, reason in wanted:
        assert f"{label}: " in entry["why"]
        assert reason in entry["why"]


@broken_graphs
def test_the_rows_the_page_and_the_graph_name_them_too(broken: Broken, sql: SqlBackend) -> None:
    scene = broken.scene(sql)
    asked = next(flow for flow in broken.graph.flows if flow.name == broken.asked)
    told = why(sql.databases[0], scene.now, asked.owner, asked.kind)["flows"]

    document = freshness(sql.databases[0], scene.now, asked.owner)

    (flow,) = (flow for flow in document["flows"] if flow["kind"] == asked.kind)
    assert {key: flow[key] for key in told[0]} == told[0]
    entries = [e for e in document["upstreams"] if e["for_flow"] == asked.kind and e["blocking"]]
    wanted = wanted_roots(broken)
    assert set().union(*map(named_roots, entries)) == wanted
    rows = {row["upstream"]: row for row in table(document) if row["blocks"] == "yes"}
    for entry in entries:
        row = rows[f"{entry['resource']}.{entry['flow_kind']}"]
        assert row["root cause"].split(", ") == [label for label, _ in labels_of(entry)]
        assert all(reason in row["why"] for _, reason in named_roots(entry))
    text = page(document)
    boxes = drawn(text)
    for label, reason in wanted:
        assert f"{label}: " in text
        assert "root" in boxes[label].classes
        assert reason in boxes[label].text
    for entry in entries:
        box = boxes[f"{entry['resource']}.{entry['flow_kind']}"]
        assert entry["status"] in box.classes
        roots = {label for label, _ in named_roots(entry)}
        assert "root" in box.classes or all(
            "waits for" in box.text and r in box.text for r in roots
        )


@dataclass(frozen=True)
class Drawn:
    """A box of a mermaid diagram."""

    text: str
    classes: frozenset[str]


def drawn(text: str) -> dict[str, Drawn]:
    """The boxes of the only diagram of a page by their first line."""
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    (roots,) = re.findall(r"class (\S+) root", diagram) or [""]
    found = {}
    for key, label, status in re.findall(r'(n\d+)\W*"(.*?)"\W*:::(\w+)', diagram):
        name, _, _ = label.partition("<br/>")
        classes = {status} | ({"root"} if key in roots.split(",") else set())
        found[name] = Drawn(label, frozenset(classes))
    return found


def wanted_roots(broken: Broken) -> set[tuple[str, str]]:
    labels = {flow.name: f"{flow.owner}.{flow.kind}" for flow in broken.graph.flows}
    return {(labels[name], reason.value) for name, reason in broken.roots}


def named_roots(entry: dict[str, Any]) -> set[tuple[str, str]]:
    return set(labels_of(entry))


def labels_of(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"{r['resource']}.{r['flow_kind']}", r["reason"]) for r in entry["roots"]]


def test_there_are_ten_of_them_and_more() -> None:
    assert len({broken.name for broken in BROKEN}) >= 10


def test_what_is_ready_waits_for_nothing() -> None:
    scene = Scene.ready(chain())

    diagnosis = diagnose_each(scene.draft(), [flow_id("C")])[flow_id("C")]

    assert diagnosis.roots == ()
    assert diagnosis.subject.status is FlowStatus.READY


def test_an_error_of_its_own_is_not_blamed_on_others() -> None:
    scene = Scene.ready(chain())
    scene.run("A")
    scene.begin("B")
    scene.end("B", RunStatus.FAILED, "B broke")

    diagnosis = diagnose_each(scene.draft(), [flow_id("B")])[flow_id("B")]

    assert [root.why for root in diagnosis.roots] == ["B broke"]


def test_every_flow_of_an_instance_is_explained(sql: SqlBackend) -> None:
    Scene(model(), backend=sql)

    document = why(sql.databases[0], sql.now, "model")

    assert [entry["kind"] for entry in document["flows"]] == ["inference", "monitoring", "training"]
    assert not document["ready"]
    assert {root["resource"] for entry in document["flows"] for root in entry["roots"]} == {
        "prices"
    }


def test_what_blocks_an_instance_that_is_ready_is_explained_as_well(sql: SqlBackend) -> None:
    scene = Scene.ready(chain(), backend=sql)
    scene.begin("A", BY_HAND)
    scene.end("A", RunStatus.FAILED, "no <file> *here*")

    document = freshness(sql.databases[0], scene.now, "B")

    assert not document["fresh"]
    assert document["flows"][0]["status"] == "READY"
    said = headline(document)
    assert said.startswith("A.refresh: ERROR RunFailed since ")
    assert said.endswith(": no <file> *here*")
    assert r": no &lt;file> \*here\*" in page(document)
    (row,) = table(document)
    assert (row["blocks"], row["root cause"]) == ("yes", "A.refresh")
    assert row["why"].startswith("ERROR RunFailed since ")
    assert row["to unblock"].startswith("A.refresh: correct the cause, then ")


def test_an_instance_that_is_ready_and_asked_to_run_waits_in_one_sentence(sql: SqlBackend) -> None:
    scene = Scene.ready(chain(), backend=sql)
    scene.begin("A", BY_HAND)
    scene.end("A", RunStatus.FAILED, "broke")
    scene.ask("B")

    document = freshness(sql.databases[0], scene.now, "B")

    assert document["flows"][0]["status"] == "READY"
    assert headline(document).startswith("B.refresh waits for A.refresh: ERROR RunFailed since ")
    assert page(document).count("ERROR RunFailed since") == 1


def test_an_instance_that_nothing_blocks_says_so(sql: SqlBackend) -> None:
    scene = Scene.ready(chain(), backend=sql)

    fed, source = (freshness(sql.databases[0], scene.now, name) for name in ("B", "A"))

    assert fed["fresh"]
    assert headline(fed).endswith("/B is READY and no upstream blocks it")
    assert [row["blocks"] for row in table(fed)] == ["no"]
    assert table(source)[0]["upstream"] == "none"
    assert "To unblock" not in page(fed)


def test_a_graph_too_large_for_a_page_keeps_the_roots(
    sql: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 8
    monkeypatch.setattr(explaining, "DRAWN", drawn)
    pairs = [f"S{at}>D" for at in range(drawn + 5)]
    scene = Scene.ready(of_pairs(" ".join(pairs)), backend=sql)
    last = f"S{drawn + 4}"
    scene.begin(last, BY_HAND)
    scene.end(last, RunStatus.FAILED, "broke")

    graph = freshness(sql.databases[0], scene.now, "D")["graph"]

    assert [node["resource"] for node in graph["nodes"][:2]] == ["D", last]
    assert (len(graph["nodes"]), graph["left_out"]) == (drawn, 6)
    assert graph["edges"][0]["blocks"]
