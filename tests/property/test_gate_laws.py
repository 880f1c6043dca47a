"""Laws of the gate over states of any kind, reachable or not, and of the names it relies on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.core import gate, ids
from prefect_instances.libs.core.aggregation import aggregate
from prefect_instances.libs.core.records import (
    UNCLAIMED,
    OpeningStatus,
    Region,
    Request,
    RequestStatus,
    RunParameters,
)
from prefect_instances.libs.core.status import Cause, FlowStatus, Lifecycle, Mode
from prefect_instances.libs.core.unit_of_work import Draft
from tests.property.backend import EPOCH
from tests.property.graphs import named, region_of
from tests.property.laws import fulfils
from tests.property.worlds import World, worlds

VECTORS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5), max_size=4)
DAYS = st.dates(date(1700, 1, 1), date(2199, 12, 31))
"""Days that a request may name."""

PARAMETERS = st.builds(
    RunParameters,
    st.sampled_from(Mode),
    st.none() | DAYS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    start=st.none() | DAYS,
    end=st.none() | DAYS,
).filter(lambda parameters: not parameters.problems())


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """A graph with any statuses, generations, requests and lifecycles."""
    world: World = draw(worlds())
    region = region_of(world.graph)
    flows, requests = {}, {}
    for flow in region.flows.values():
        flows[flow.id] = replace(
            flow,
            status=draw(st.sampled_from(FlowStatus)),
            generation=draw(st.integers(0, 3)),
            config_version=draw(st.integers(1, 3)),
            consumed_config_version=draw(st.integers(0, 3)),
        )
        if draw(st.booleans()):
            request = _request(flow.id, draw(PARAMETERS), draw(st.integers(-60, 60)))
            requests[request.id] = request
    edges = {
        edge.id: replace(edge, consumed=draw(st.integers(0, flows[edge.upstream].generation)))
        for edge in region.edges.values()
    }
    instances = {}
    for instance in region.instances.values():
        statuses = [flow.status for flow in flows.values() if flow.instance_id == instance.id]
        instances[instance.id] = replace(
            instance,
            lifecycle=draw(st.sampled_from(Lifecycle)),
            status=aggregate(statuses, instance.contract),
        )
    return Region(instances, flows, edges, {}, requests)


def _request(flow_id: UUID, parameters: RunParameters, delay: int) -> Request:
    return Request(
        id=named("request", str(flow_id)),
        flow_id=flow_id,
        cause=Cause.MANUAL,
        parameters=parameters,
        created_at=EPOCH,
        not_before=EPOCH + timedelta(seconds=delay),
    )


def evaluated(region: Region) -> Draft:
    draft = Draft(region, EPOCH)
    for flow_id in region.flows:
        gate.evaluate(draft, flow_id)
    return draft


@given(regions())
def test_evaluating_twice_is_evaluating_once(region: Region) -> None:
    draft = evaluated(region)
    once = draft.changes()
    for flow_id in region.flows:
        gate.evaluate(draft, flow_id)
    assert draft.changes() == once


@given(regions())
def test_the_order_of_evaluation_does_not_matter(region: Region) -> None:
    draft = Draft(region, EPOCH)
    for flow_id in reversed(list(region.flows)):
        gate.evaluate(draft, flow_id)
    assert draft.openings == evaluated(region).openings


@given(regions())
def test_a_gate_opens_iff_open_due_idle_and_active(region: Region) -> None:
    draft = evaluated(region)
    opened = {opening.flow_id for opening in draft.openings.values()}
    for flow in region.flows.values():
        request = draft.pending_request(flow.id)
        force = request is not None and request.parameters.force
        recursive = request is not None and request.parameters.recursive
        required = gate.find_unpublished if force else gate.find_blockers
        expected = (
            flow.status is not FlowStatus.RUNNING
            and draft.is_active(flow)
            and not required(draft, flow.id)
            and not (recursive and gate.find_awaited(draft, flow.id))
            and (request is not None or gate.due_by_input(draft, flow.id))
        )
        assert (flow.id in opened) == expected


@given(regions())
def test_evaluating_changes_no_status_and_closes_only_requests_that_are_satisfied(
    region: Region,
) -> None:
    draft = evaluated(region)
    assert all(
        replace(flow, opened_key="") == region.flows[flow.id] for flow in draft.flows.values()
    )
    for id_, request in region.requests.items():
        closed = draft.requests[id_] != request
        assert draft.requests[id_] in (request, replace(request, status=RequestStatus.DONE))
        if closed:
            assert request.parameters.smart
            assert gate.is_fresh(draft, request.flow_id)
    assert draft.requests.keys() == region.requests.keys()
    assert draft.edges == region.edges
    assert {event.name for event in draft.changes().events} <= {ids.GATE_OPENED}


@given(regions(), st.data())
def test_an_advance_supersedes_and_leaves_one_unclaimed(
    region: Region, data: st.DataObject
) -> None:
    draft = evaluated(region)
    flow_id = data.draw(st.sampled_from(sorted(region.flows)))
    advanced = draft.flows[flow_id]
    draft.flows[flow_id] = replace(advanced, generation=advanced.generation + 1)
    for each in region.flows:
        gate.evaluate(draft, each)
        assert len(draft.unclaimed(each)) <= 1
    keys = [(opening.flow_id, opening.cause_key) for opening in draft.openings.values()]
    assert len(set(keys)) == len(keys)
    for opening in draft.openings.values():
        assert opening.status in UNCLAIMED or opening.status is OpeningStatus.SUPERSEDED


@given(st.integers(1, 9), VECTORS, st.integers(1, 9), VECTORS)
def test_input_keys_are_equal_iff_the_inputs_are(
    one: int, first: dict[str, int], other: int, second: dict[str, int]
) -> None:
    same = gate.input_key(one, first) == gate.input_key(other, second)
    assert same == ((one, first) == (other, second))


@given(VECTORS.flatmap(lambda v: st.tuples(st.just(v), st.permutations(sorted(v.items())))))
def test_input_keys_do_not_depend_on_the_order(
    two: tuple[dict[str, int], list[tuple[str, int]]],
) -> None:
    assert gate.input_key(1, two[0]) == gate.input_key(1, dict(two[1]))


@given(st.uuids(), st.integers(1, 9), VECTORS)
def test_no_request_has_the_key_of_inputs(id_: UUID, config: int, vector: dict[str, int]) -> None:
    request = replace(_request(id_, RunParameters(), 0), id=id_, status=RequestStatus.PENDING)
    assert gate.request_key(request) != gate.input_key(config, vector)


@given(PARAMETERS, PARAMETERS, PARAMETERS)
def test_requests_merge_alike_however_they_are_grouped(
    a: RunParameters, b: RunParameters, c: RunParameters
) -> None:
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(b) == b.merged(a)
    assert a.merged(a) == a


@given(PARAMETERS, PARAMETERS, PARAMETERS)
def test_no_merge_weakens_a_promise(a: RunParameters, b: RunParameters, c: RunParameters) -> None:
    both = a.merged(b)
    assert fulfils(both, a)
    assert fulfils(both, b)
    if fulfils(c, a) and fulfils(c, b):
        assert fulfils(c, both), "more than was asked"


@given(PARAMETERS, PARAMETERS)
def test_what_gives_way_in_a_merge_is_told(a: RunParameters, b: RunParameters) -> None:
    both = a.merged(b)
    told = bool(a.replaced_by(both) or b.replaced_by(both))
    assert told is any(
        (one.as_of or both.as_of) != both.as_of or (one.end or both.end) != both.end
        for one in (a, b)
    )


NAMES = st.lists(st.text("aB1", min_size=1, max_size=2), min_size=1, max_size=3).map(
    lambda parts: "_".join(["B" + parts[0], *parts[1:]])
)


@given(NAMES, NAMES, NAMES, NAMES)
def test_different_instances_never_share_a_block_document(a: str, b: str, c: str, d: str) -> None:
    assert all(ids.NAME.match(name) for name in (a, b, c, d))
    same = (a.lower(), b.lower()) == (c.lower(), d.lower())
    assert (ids.block_document_name(a, b) == ids.block_document_name(c, d)) == same
