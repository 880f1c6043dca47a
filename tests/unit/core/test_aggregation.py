"""An instance's status follows from its flows' by the contract of its definition."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.aggregation import (
    DEFAULT_PRIORITY,
    METHODS,
    AggregationContract,
    aggregate,
    parse_contract,
    read_contract,
)
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.status import FlowStatus

NEVER, RUNNING, READY, STALE, ERROR = (
    FlowStatus.NOT_INITIALIZED,
    FlowStatus.RUNNING,
    FlowStatus.READY,
    FlowStatus.STALE,
    FlowStatus.ERROR,
)
RUNNING_FIRST = AggregationContract(priority=(RUNNING, STALE, ERROR, READY))
READY_ONLY = AggregationContract(priority=(READY,))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([READY, READY], READY, id="all-ready"),
        pytest.param([READY, STALE], STALE, id="one-stale"),
        pytest.param([STALE, ERROR, RUNNING, READY], ERROR, id="error-is-the-most-severe"),
        pytest.param([RUNNING, STALE], STALE, id="stale-before-running"),
        pytest.param([RUNNING, READY], RUNNING, id="running-before-ready"),
        pytest.param([NEVER, READY], NEVER, id="never-ran-keeps-from-ready"),
        pytest.param([NEVER, RUNNING], RUNNING, id="unnamed-ranks-just-before-ready"),
        pytest.param([NEVER], NEVER, id="never-ran-alone"),
        pytest.param([], NEVER, id="no-flows"),
    ],
)
def test_the_default_contract_takes_the_most_severe(
    statuses: list[FlowStatus], expected: FlowStatus
) -> None:
    assert aggregate(statuses, AggregationContract()) is expected


@pytest.mark.parametrize(
    ("contract", "statuses", "expected"),
    [
        pytest.param(RUNNING_FIRST, [ERROR, RUNNING], RUNNING, id="its-own-order"),
        pytest.param(RUNNING_FIRST, [ERROR, STALE], STALE, id="its-own-order-of-the-rest"),
        pytest.param(READY_ONLY, [READY, ERROR], ERROR, id="unnamed-error-is-not-ready"),
        pytest.param(READY_ONLY, [READY, NEVER, RUNNING], NEVER, id="unnamed-in-fixed-order"),
        pytest.param(READY_ONLY, [READY], READY, id="all-ready"),
    ],
)
def test_a_contract_of_its_own_decides(
    contract: AggregationContract, statuses: list[FlowStatus], expected: FlowStatus
) -> None:
    assert aggregate(statuses, contract) is expected


def test_a_contract_says_which_method_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "always_stale", lambda statuses, priority: STALE)
    assert aggregate([READY], AggregationContract("always_stale")) is STALE


def test_a_contract_is_read_from_a_definition() -> None:
    document = {"aggregation_method": "min_severity", "status_priority": ["STALE", "READY"]}
    assert parse_contract(document) == AggregationContract("min_severity", (STALE, READY))


def test_what_a_contract_leaves_out_is_the_default() -> None:
    assert parse_contract({}) == AggregationContract("min_severity", DEFAULT_PRIORITY)


def test_a_contract_survives_being_written_and_read() -> None:
    assert parse_contract(RUNNING_FIRST.document()) == RUNNING_FIRST


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        pytest.param(
            {"status_priority": ["READY", "ERROR"]}, ["status_priority"], id="not-ending-in-ready"
        ),
        pytest.param(
            {"status_priority": ["STALE", "STALE", "READY"]},
            ["status_priority[1]"],
            id="repeats-a-status",
        ),
        pytest.param(
            {"status_priority": ["READY", "STALE", "READY"]},
            ["status_priority[2]"],
            id="repeats-ready",
        ),
        pytest.param(
            {"status_priority": ["BROKEN", "READY"]}, ["status_priority[0]"], id="unknown-status"
        ),
        pytest.param(
            {"status_priority": ["ready"]},
            ["status_priority", "status_priority[0]"],
            id="wrong-case",
        ),
        pytest.param(
            {"status_priority": [None, "READY"]}, ["status_priority[0]"], id="null-status"
        ),
        pytest.param(
            {"status_priority": [["ERROR"], "READY"]}, ["status_priority[0]"], id="nested-list"
        ),
        pytest.param(
            {"status_priority": [{"ERROR": 1}, "READY"]}, ["status_priority[0]"], id="a-mapping"
        ),
        pytest.param({"status_priority": []}, ["status_priority"], id="empty-list"),
        pytest.param({"status_priority": "READY"}, ["status_priority"], id="text-for-a-list"),
        pytest.param({"status_priority": None}, ["status_priority"], id="null-list"),
        pytest.param({"status_priority": {"READY": 1}}, ["status_priority"], id="mapping-for-list"),
        pytest.param({"aggregation_method": "worst"}, ["aggregation_method"], id="unknown-method"),
        pytest.param({"aggregation_method": None}, ["aggregation_method"], id="null-method"),
        pytest.param({"aggregation_method": ["x"]}, ["aggregation_method"], id="list-for-method"),
        pytest.param({"priority": []}, ["priority"], id="unknown-field"),
        pytest.param(
            {"aggregation_method": "x", "status_priority": ["X"], "z": 1},
            ["aggregation_method", "status_priority", "status_priority[0]", "z"],
            id="every-fault-is-named",
        ),
    ],
)
def test_a_malformed_contract_is_refused(document: dict[str, object], paths: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_contract(document)
    assert [problem.path for problem in caught.value.problems] == paths


def test_a_method_that_is_gone_or_fails_stops_no_change_of_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> FlowStatus:
        raise KeyError("plugin")

    gone = read_contract({"aggregation_method": "gone", "status_priority": ["STALE", "READY"]})
    monkeypatch.setitem(METHODS, "fails", fails)

    assert aggregate([READY, STALE], gone) is STALE
    assert aggregate([READY, STALE], AggregationContract("fails")) is STALE
