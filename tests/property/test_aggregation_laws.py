"""Laws of aggregation: order and repetition do not matter, READY needs all, worse is not better."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.core.aggregation import AggregationContract, aggregate, parse_contract
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import FlowStatus

STATUS = st.sampled_from(FlowStatus)
STATUSES = st.lists(STATUS, max_size=6)
SEVERE = [status for status in FlowStatus if status is not FlowStatus.READY]
CONTRACTS = st.lists(st.sampled_from(SEVERE), unique=True).map(
    lambda named: AggregationContract(priority=(*named, FlowStatus.READY))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | STATUS.map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(CONTRACTS, STATUSES.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_order_does_not_matter(
    contract: AggregationContract, two: tuple[list[FlowStatus], list[FlowStatus]]
) -> None:
    assert aggregate(two[0], contract) is aggregate(two[1], contract)


@given(CONTRACTS, STATUSES)
def test_repetition_does_not_matter(
    contract: AggregationContract, statuses: list[FlowStatus]
) -> None:
    assert aggregate(statuses * 2, contract) is aggregate(statuses, contract)


@given(CONTRACTS, STATUSES)
def test_ready_iff_there_are_flows_and_all_are(
    contract: AggregationContract, statuses: list[FlowStatus]
) -> None:
    all_ready = bool(statuses) and set(statuses) == {FlowStatus.READY}
    assert (aggregate(statuses, contract) is FlowStatus.READY) is all_ready


@given(CONTRACTS, STATUSES.filter(bool))
def test_the_aggregate_is_a_status_that_some_flow_has(
    contract: AggregationContract, statuses: list[FlowStatus]
) -> None:
    assert aggregate(statuses, contract) in statuses


@given(CONTRACTS, STATUSES, STATUSES)
def test_aggregating_parts_first_makes_no_difference(
    contract: AggregationContract, some: list[FlowStatus], rest: list[FlowStatus]
) -> None:
    parts = [aggregate(part, contract) for part in (some, rest) if part]
    assert aggregate(parts, contract) is aggregate(some + rest, contract)


@given(CONTRACTS, STATUSES.filter(bool), STATUS)
def test_one_flow_more_never_makes_it_less_severe(
    contract: AggregationContract, statuses: list[FlowStatus], one: FlowStatus
) -> None:
    unnamed = [s for s in FlowStatus if s not in contract.priority]
    order = [*contract.priority[:-1], *unnamed, FlowStatus.READY]
    before, after = aggregate(statuses, contract), aggregate([*statuses, one], contract)
    assert order.index(after) == min(order.index(before), order.index(one))


@given(CONTRACTS)
def test_a_contract_survives_being_written_and_read(contract: AggregationContract) -> None:
    assert parse_contract(contract.document()) == contract


@given(
    st.fixed_dictionaries(
        {}, optional={"aggregation_method": JSON, "status_priority": JSON, "other": JSON}
    )
)
def test_any_document_is_read_or_refused_with_paths(document: dict[str, object]) -> None:
    contract, problems = _read(document)
    assert (contract is None) == bool(problems)
    assert all(problem.path for problem in problems)
    if contract is not None:
        assert contract.priority[-1] is FlowStatus.READY
        assert len(set(contract.priority)) == len(contract.priority)


def _read(document: dict[str, object]) -> tuple[AggregationContract | None, tuple[Problem, ...]]:
    try:
        return parse_contract(document), ()
    except InvalidSpec as refused:
        return None, refused.problems
