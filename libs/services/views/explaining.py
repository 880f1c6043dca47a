"""Explain why an instance is not READY.

One diagnosis serves ``instances why``, ``instances freshness`` and the pages in Prefect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from textwrap import shorten
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.diagnosis import Diagnosis, Finding, diagnose_each
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.records import EdgeState
from prefect_instances.libs.core.status import FlowStatus
from prefect_instances.libs.core.unit_of_work import Draft
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.region import load_region, select_ancestors
from prefect_instances.libs.db.repositories.resources import flows_of, get_instance
from prefect_instances.libs.services.rendering.diagrams import draw_freshness, format_minute
from prefect_instances.libs.services.views.reports import (
    derive_freshness,
    describe_status,
    flow_document,
)

Document = dict[str, Any]
Diagnoses = Mapping[UUID, Diagnosis]

DRAWN, ARROWS = 60, 300
"""Flows and edges in the graph of a freshness document; what blocks comes first."""

HEADLINE = 1000
"""Letters of the sentence that stands above a page and beside a run."""

LEGEND = (
    "Thick frame: root cause. Thick arrow: from a blocking flow to the one that waits. "
    "Dashed frame: READY, but waits. Dotted arrow: does not trigger."
)


def why(database: Database, now: datetime, name: str, kind: str = "") -> Document:
    """Explain for each flow of an instance what it waits for, the root causes and the remedies.

    ``kind`` limits it to one flow. Raises NotFound for an unknown instance or flow.
    """
    with database.read() as session:
        named = get_instance(session, name)
        own, draft = _ancestry(session, now, named.id, kind)
        kinds = [flow.kind for flow in flows_of(session, named.id)]
    if not own:
        asked = f"{named.label}.{kind}" if kind else named.label
        raise NotFound("flow", asked, [f"{named.label}.{one}" for one in kinds])
    diagnoses = diagnose_each(draft, own)
    return {
        "instance": named.name,
        "project": named.project,
        "ready": all(d.subject.status is FlowStatus.READY for d in diagnoses.values()),
        "flows": [_diagnosis(diagnosis) for diagnosis in diagnoses.values()],
    }


def freshness(database: Database, now: datetime, name: str) -> Document:
    """Report for every upstream flow of an instance its status, whether it blocks, and why.

    ``upstreams`` has an entry for each edge, with the root causes if it blocks. ``flows`` are the
    instance's own flows as in ``why``. ``graph`` holds them and their ancestors, blocking ones
    first, at most ``DRAWN``. Raises NotFound for an unknown instance.
    """
    with database.read() as session:
        named = get_instance(session, name)
        own, draft = _ancestry(session, now, named.id)
    edges = [edge for flow_id in own for edge in draft.upstream_edges(flow_id)]
    diagnoses = diagnose_each(draft, [*own, *(edge.upstream for edge in edges)])
    upstreams = [_upstream(draft, edge, diagnoses, now) for edge in edges]
    return {
        "instance": named.name,
        "project": named.project,
        "fresh": not any(entry["blocking"] for entry in upstreams),
        "flows": [
            flow_document(draft, draft.flows[flow_id], now) | _diagnosis(diagnoses[flow_id])
            for flow_id in own
        ],
        "upstreams": upstreams,
        "graph": _graph(draft, own, diagnoses),
    }


def _ancestry(
    session: Session, now: datetime, instance_id: UUID, kind: str = ""
) -> tuple[list[UUID], Draft]:
    """Load the flows of an instance, or its flow of one kind, with all their ancestors."""
    own = [flow.id for flow in flows_of(session, instance_id) if kind in ("", flow.kind)]
    return own, Draft(load_region(session, select_ancestors(session, own)), now)


def _diagnosis(diagnosis: Diagnosis) -> Document:
    subject = diagnosis.subject
    return {
        "kind": subject.kind,
        "status": subject.status.value,
        "reason": subject.reason.value,
        "since": _iso(subject.since),
        "why": diagnosis.sentence(),
        "next_at": _iso(subject.next_at),
        "roots": [_finding(finding) for finding in diagnosis.roots],
        "chain": [_finding(finding) for finding in diagnosis.chain],
    }


def _finding(finding: Finding) -> Document:
    return {
        "flow_id": str(finding.flow_id),
        "resource": finding.instance,
        "flow_kind": finding.kind,
        "status": finding.status.value,
        "reason": finding.reason.value,
        "since": _iso(finding.since),
        "why": finding.why,
        "remedy": finding.remedy,
        "next_at": _iso(finding.next_at),
        "waits_for": [str(flow_id) for flow_id in finding.waits_for],
    }


def _upstream(draft: Draft, edge: EdgeState, diagnoses: Diagnoses, now: datetime) -> Document:
    upstream, diagnosis = draft.flows[edge.upstream], diagnoses[edge.upstream]
    blocking = _blocks(draft, edge, diagnoses)
    return {
        "for_flow": draft.flows[edge.downstream].kind,
        "resource": draft.instance_of(upstream).name,
        "flow_kind": upstream.kind,
        "role": edge.role,
        "require": edge.require.value,
        "triggers": edge.triggers,
        "status": upstream.status.value,
        "reason": upstream.reason.value,
        "message": describe_status(upstream),
        "since": _iso(upstream.since),
        "generation": upstream.generation,
        "consumed_generation": edge.consumed,
        "last_data_date": _iso(upstream.last_data_date),
        "freshness": derive_freshness(upstream, now).value,
        "blocking": blocking,
        "why": diagnosis.sentence() if blocking else describe_status(upstream),
        "roots": [_finding(root) for root in _roots(diagnosis)] if blocking else [],
    }


def _blocks(draft: Draft, edge: EdgeState, diagnoses: Diagnoses) -> bool:
    """Return True if the upstream does not satisfy the edge, or must run first."""
    waits = edge.upstream in diagnoses[edge.downstream].subject.waits_for
    return waits or not gate.meets_requirement(edge, draft.flows[edge.upstream])


def _roots(diagnosis: Diagnosis) -> tuple[Finding, ...]:
    """Return the root causes of a blocking upstream; the upstream itself if it has none."""
    return diagnosis.roots or (diagnosis.subject,)


def _graph(draft: Draft, own: list[UUID], diagnoses: Diagnoses) -> Document:
    """Build the graph of the flows and their ancestors; blocking ones first, from the roots."""
    edges = [edge for flow_id in own for edge in draft.upstream_edges(flow_id)]
    blocking = {edge.upstream for edge in edges if _blocks(draft, edge, diagnoses)}
    told = [diagnoses[flow_id] for flow_id in dict.fromkeys([*own, *blocking])]
    roots = {f.flow_id for diagnosis in told for f in diagnosis.roots} | {
        f.flow_id for flow_id in blocking for f in _roots(diagnoses[flow_id])
    }
    chain = {f.flow_id for diagnosis in told for f in diagnosis.chain if _is_told(f, roots)}
    direct = [edge.upstream for edge in edges]
    wanted = list(dict.fromkeys([*own, *roots, *chain, *direct, *draft.flows]))
    drawn = diagnose_each(draft, wanted[:DRAWN])
    return {
        "nodes": [_node(drawn[id_], own, roots, chain) for id_ in drawn],
        "edges": _arrows(draft, drawn)[:ARROWS],
        "left_out": len(wanted) - len(drawn),
    }


def _is_told(finding: Finding, roots: set[UUID]) -> bool:
    return bool(finding.waits_for) or finding.flow_id in roots


def _node(diagnosis: Diagnosis, own: list[UUID], roots: set[UUID], chain: set[UUID]) -> Document:
    finding = diagnosis.subject
    return {
        **_finding(finding),
        "asked": finding.flow_id in own,
        "root": finding.flow_id in roots,
        "explained": finding.flow_id in chain,
        "root_causes": [root.label for root in diagnosis.roots],
    }


def _arrows(draft: Draft, drawn: Diagnoses) -> list[Document]:
    """Return the edges between the flows that are drawn, blocking ones first."""
    inside = [e for e in draft.edges.values() if e.upstream in drawn and e.downstream in drawn]
    arrows = [
        {
            "upstream": str(edge.upstream),
            "downstream": str(edge.downstream),
            "triggers": edge.triggers,
            "blocks": _blocks(draft, edge, drawn),
        }
        for edge in inside
    ]
    return sorted(arrows, key=lambda arrow: not arrow["blocks"])


def _iso(value: datetime | date | None) -> str | None:
    return value.isoformat() if value is not None else None


def headline(document: Mapping[str, Any]) -> str:
    """Summarise a freshness document in a few sentences."""
    told = [flow["why"] for flow in document["flows"] if flow["status"] != "READY" or _waits(flow)]
    told += _besides(document)
    if not told:
        return f"{document['project']}/{document['instance']} is READY and no upstream blocks it"
    return shorten("; ".join(told), HEADLINE, placeholder=" …")


def _waits(flow: Mapping[str, Any]) -> bool:
    return len(flow["chain"]) > 1


def _besides(document: Mapping[str, Any]) -> list[str]:
    """List sentences about blocking upstreams of flows that are not waiting themselves."""
    waiting = {flow["kind"] for flow in document["flows"] if _waits(flow)}
    told = (
        entry["why"]
        for entry in document["upstreams"]
        if entry["blocking"] and entry["for_flow"] not in waiting
    )
    return list(dict.fromkeys(told))


def remedies(roots: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """List each root cause once: its flow, and what would unblock it or when it continues."""
    found: dict[str, str] = {}
    for root in roots:
        parts = [root["remedy"]] if root["remedy"] else []
        parts += [f"continues at {format_minute(root['next_at'])}"] if root["next_at"] else []
        if parts:
            found[f"{root['resource']}.{root['flow_kind']}"] = "; ".join(parts)
    return list(found.items())


def table(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convert a freshness document to table rows; the most important columns come first."""
    several = len(document["flows"]) > 1
    rows = [_row(entry, several) for entry in document["upstreams"]]
    return rows or [{"upstream": "none", "why": "it reads no other instance"}]


def _row(entry: Mapping[str, Any], several: bool) -> dict[str, Any]:
    upstream = f"{entry['resource']}.{entry['flow_kind']}"
    roots = [f"{root['resource']}.{root['flow_kind']}" for root in entry["roots"]]
    return {
        "upstream": upstream,
        **({"for": entry["for_flow"]} if several else {}),
        "status": entry["status"],
        "blocks": "yes" if entry["blocking"] else "no",
        "root cause": ", ".join(roots),
        "why": entry["why"].removeprefix(upstream).lstrip(": "),
        "to unblock": "; ".join(f"{flow}: {what}" for flow, what in remedies(entry["roots"])),
        "reason": entry["reason"],
        "since": format_minute(entry["since"]) if entry["since"] else "",
        "data up to": entry["last_data_date"],
        "generation": entry["generation"],
        "role": entry["role"],
    }


def page(document: Mapping[str, Any]) -> str:
    """Convert a freshness document to a Markdown page: sentences, remedies and a diagram."""
    lines = [f"## {document['project']}/{document['instance']}: status and causes", ""]
    for flow in document["flows"]:
        lines += [f"**{flow['kind']}**: {as_markdown(flow['why'])}", ""]
    lines += [*(f"- {as_markdown(sentence)}" for sentence in _besides(document)), ""]
    blocking = [entry for entry in document["upstreams"] if entry["blocking"]]
    roots = [root for entry in [*document["flows"], *blocking] for root in entry["roots"]]
    if found := remedies(roots):
        lines += ["To unblock it:", "", *(f"- **{flow}**: {what}" for flow, what in found), ""]
    return "\n".join([*lines, *_picture(document["graph"])])


def as_markdown(text: str) -> str:
    """Escape text so that Markdown shows it unchanged, on one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*[]|~" else letter for letter in plain)


def _picture(graph: Mapping[str, Any]) -> list[str]:
    more = f" {graph['left_out']} more upstream flows are not shown." if graph["left_out"] else ""
    return [draw_freshness(graph), "", f"{LEGEND}{more}"]
