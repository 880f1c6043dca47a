"""Tables: what a person reads out of the documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_instances.cli.output import format_age, plain_rows
from prefect_instances.cli.tables import (
    freshness_rows,
    freshness_table,
    not_ready,
    run_rows,
    status_rows,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def flow(status: str = "READY", kind: str = "refresh", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "status": status,
        "reason": "RunSucceeded",
        "message": "the last run succeeded",
        "since": "2026-01-05T11:58:00+00:00",
        "generation": 3,
        "last_data_date": "2026-01-02",
        "blocked_by": [],
        **more,
    }


def instance(name: str, *flows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "project": "demo",
        "type": "DatasetInstance",
        "lifecycle": "ACTIVE",
        "status": flows[0]["status"],
        "freshness": "FRESH",
        "condition": None,
        "flows": list(flows),
        **more,
    }


def test_an_instance_with_one_flow_is_one_row() -> None:
    assert status_rows({"instances": [instance("prices", flow())]}, NOW) == [
        [
            "prices",
            "DatasetInstance",
            "READY",
            "FRESH",
            "3",
            "2026-01-02",
            "2 min",
            "RunSucceeded",
        ]
    ]


def test_an_instance_with_several_flows_has_a_row_for_each() -> None:
    model = instance("model", flow("READY", "training"), flow("ERROR", "inference"), status="ERROR")

    rows = status_rows({"instances": [model]}, NOW)

    assert [row[:3] for row in rows] == [
        ["model", "DatasetInstance", "ERROR"],
        ["  training", "", "READY"],
        ["  inference", "", "ERROR"],
    ]


def test_names_carry_the_project_only_where_there_are_several() -> None:
    both = [instance("a", flow()), instance("b", flow(), project="other")]

    assert [row[0] for row in status_rows({"instances": both}, NOW)] == ["demo/a", "other/b"]


def test_a_blocked_flow_says_for_whom_it_waits() -> None:
    waiting = flow("NOT_INITIALIZED", reason="NeverRan", blocked_by=[{"resource": "prices"}])

    (row,) = status_rows({"instances": [instance("returns", waiting)]}, NOW)

    assert row[-1] == "NeverRan, waits for prices"


def test_an_error_says_what_failed_on_one_short_line() -> None:
    failed = flow("ERROR", reason="RunFailed", message="line one\nline two " + "x" * 500)

    (row,) = status_rows({"instances": [instance("returns", failed)]}, NOW)

    assert row[-1].startswith("RunFailed: line one line two")
    assert len(row[-1]) <= 120


def test_a_failed_provisioning_says_what_stopped_it() -> None:
    stuck = instance(
        "a", flow("NOT_INITIALIZED"), lifecycle="FAILED", condition={"error": "no pool"}
    )

    assert not_ready({"instances": [stuck]}) == ["a is NOT_INITIALIZED: FAILED: no pool"]


def test_only_what_is_not_ready_is_named() -> None:
    document = {"instances": [instance("a", flow()), instance("b", flow("ERROR"))]}

    assert not_ready(document) == ["b is ERROR: the last run succeeded"]


def test_a_run_shows_what_it_read_and_how_long_it_took() -> None:
    run = {
        "id": "run-1",
        "flow_kind": "refresh",
        "status": "completed",
        "cause": "gate",
        "started_at": "2026-01-05T11:00:00.100000+00:00",
        "ended_at": "2026-01-05T11:00:02.600000+00:00",
        "inputs": [{"resource": "prices", "flow_kind": "refresh", "generation": 2, "version": "v"}],
        "output_version": "01234567-89ab",
    }

    assert run_rows({"runs": [run, {**run, "ended_at": None, "output_version": None}]}) == [
        [
            "2026-01-05 11:00:00+00:00",
            "refresh",
            "completed",
            "gate",
            "2.5",
            "prices@2",
            "01234567",
            "run-1",
        ],
        ["2026-01-05 11:00:00+00:00", "refresh", "completed", "gate", "", "prices@2", "", "run-1"],
    ]


def test_a_blocking_upstream_is_marked() -> None:
    upstream = {
        "resource": "prices",
        "flow_kind": "refresh",
        "status": "ERROR",
        "freshness": "FAILED",
        "generation": 0,
        "last_data_date": None,
        "since": None,
        "reason": "RunFailed",
        "blocking": True,
        "roots": [{"resource": "vendor", "flow_kind": "refresh"}],
    }

    (row,) = freshness_rows({"upstreams": [upstream]}, NOW)

    cells = ["prices", "refresh", "ERROR", "FAILED", "0", "", "", "RunFailed", "yes"]
    assert row == [*cells, "vendor.refresh"]


def test_several_flows_of_one_instance_are_told_apart_in_the_freshness_table() -> None:
    read = {**flow(), "resource": "prices", "flow_kind": "refresh", "blocking": False}
    read |= {"freshness": "FRESH", "roots": []}
    one = [{**read, "for_flow": "training"}]
    both = [*one, {**read, "for_flow": "inference"}]

    alone, _ = freshness_table({"upstreams": one}, NOW)
    headers, rows = freshness_table({"upstreams": both}, NOW)

    assert alone[0] == "upstream"
    assert headers[:2] == ("read by", "upstream")
    assert [row[:2] for row in rows] == [["training", "prices"], ["inference", "prices"]]


def test_plain_columns_are_aligned_and_not_padded_at_the_end() -> None:
    assert plain_rows(("a", "long"), [["xyz", "1"], ["", "22"]]) == [
        "A    LONG",
        "xyz  1",
        "     22",
    ]


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(hours=5), "5 h"),
        (timedelta(days=3), "3 d"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(age: timedelta, text: str) -> None:
    assert format_age(NOW - age, NOW) == text
