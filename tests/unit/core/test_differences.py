"""Differences of documents, and of records from what is seen of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from prefect_instances.libs.core.differences import find_differences
from prefect_instances.libs.core.divergence import (
    Divergence,
    Observation,
    RecordedInstance,
    SeenAutomation,
    SeenDeployment,
    SeenDocument,
    find_divergences,
)

CASES: list[tuple[str, Any, Any, list[str]]] = [
    ("equal", {"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
    ("changed", {"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
    ("added", {}, {"a": "x"}, ['a: (none) -> "x"']),
    ("removed", {"a": {"b": 1}}, {}, ['a: {"b": 1} -> (none)']),
    ("longer_list", {"a": [1]}, {"a": [1, 2]}, ["a[1]: (none) -> 2"]),
    ("text_is_no_list", {"a": "xy"}, {"a": "xz"}, ['a: "xy" -> "xz"']),
    ("true_is_not_one", {"a": True}, {"a": 1}, ["a: true -> 1"]),
    ("number_spelling", {"a": 1.0}, {"a": 1}, []),
]


VALUES, NAMES = [case[1:] for case in CASES], [case[0] for case in CASES]


@pytest.mark.parametrize(("before", "after", "lines"), VALUES, ids=NAMES)
def test_each_value_that_differs_is_named(before: Any, after: Any, lines: list[str]) -> None:
    assert [str(found) for found in find_differences(before, after)] == lines


def test_a_long_value_is_cut_in_a_line_and_whole_in_the_record() -> None:
    (found,) = find_differences({"a": ""}, {"a": "x" * 500})

    assert len(str(found)) < 200
    assert found.after == "x" * 500


INSTANCE, DEPLOYMENT, DOCUMENT = uuid4(), uuid4(), uuid4()
RECORDED = RecordedInstance(
    INSTANCE, "demo/prices", {"name": "prices"}, DOCUMENT, {"refresh": DEPLOYMENT}
)
AGREEING = Observation(
    known=frozenset({INSTANCE}),
    deployments=(SeenDeployment(DEPLOYMENT, "refresh-dataset/demo.prices", INSTANCE, "refresh"),),
    documents={DOCUMENT: SeenDocument({"name": "prices"})},
    automations=(SeenAutomation("start", present=True, enabled=True),),
)


def test_what_agrees_has_no_divergence() -> None:
    assert find_divergences([RECORDED], AGREEING) == []


def test_a_deployment_of_an_unsettled_instance_is_no_stranger() -> None:
    stranger, busy = uuid4(), uuid4()
    seen = (*AGREEING.deployments, SeenDeployment(stranger, "f/x", busy, "refresh"))
    world = Observation(frozenset({INSTANCE, busy}), seen, AGREEING.documents)

    assert find_divergences([RECORDED], world) == []
    without = Observation(frozenset({INSTANCE}), seen, AGREEING.documents)
    (found,) = find_divergences([RECORDED], without)
    assert (found.kind, UUID(found.part)) == (Divergence.DEPLOYMENT_UNKNOWN, stranger)


def test_a_second_deployment_of_a_recorded_flow_is_told() -> None:
    second = SeenDeployment(uuid4(), "f/second", INSTANCE, "refresh")
    other_kind = SeenDeployment(uuid4(), "f/other", INSTANCE, "quality")
    seen = (*AGREEING.deployments, second, other_kind)

    (found,) = find_divergences(
        [RECORDED], Observation(frozenset({INSTANCE}), seen, AGREEING.documents)
    )

    assert (found.kind, UUID(found.part)) == (Divergence.DEPLOYMENT_EXTRA, second.id)


def test_an_automation_that_is_off_is_told() -> None:
    off = SeenAutomation("start", present=True, enabled=False)
    (found,) = find_divergences([], Observation(automations=(off,)))
    assert (found.kind, found.subject) == (Divergence.AUTOMATION_OFF, "start")
