"""Why an instance is not READY, read from the database and told to people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from libs.core.diagnosis import Diagnosis, Finding, diagnose
from libs.core.draft import Draft
from libs.core.errors import NotFound
from libs.core.status import FlowStatus
from libs.db import Database
from libs.db.repositories.region import ancestors_of, load_region
from libs.db.repositories.resources import flows_of, get_instance
from libs.services.pictures import COLOURS

Document = dict[str, Any]


def why(database: Database, now: datetime, name: str, kind: str = "") -> Document:
    """Per flow of an instance: what it waits for, the root causes, and what would unblock it.

    ``kind`` limits it to one flow. Raises NotFound for an unknown instance or flow.
    """
    with database.read() as session:
        named = get_instance(session, name)
        diagnoses = diagnoses_of(session, now, named.id, kind)
    if not diagnoses:
        raise NotFound("flow", f"{named.label}.{kind}" if kind else named.label)
    return {
        "instance": named.name,
        "project": named.project,
        "ready": all(d.subject.status is FlowStatus.READY for d in diagnoses),
        "flows": [_diagnosis(diagnosis) for diagnosis in diagnoses],
    }


def diagnoses_of(
    session: Session, now: datetime, instance_id: UUID, kind: str = ""
) -> list[Diagnosis]:
    """The diagnosis of each flow of an instance, or of the one of that kind."""
    own = [flow.id for flow in flows_of(session, instance_id) if kind in ("", flow.kind)]
    draft = Draft(load_region(session, ancestors_of(session, own)), now)
    return [diagnose(draft, flow_id) for flow_id in own]


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


def _iso(value: datetime | None) -> str | None:
    return value.isoformat() if value is not None else None


def page(document: Mapping[str, Any]) -> str:
    """A page for people: per flow the sentence, the remedy, and the chain as a diagram."""
    lines = [f"## Why {document['project']}/{document['instance']} is as it is", ""]
    for flow in document["flows"]:
        lines += [f"**{flow['kind']}**: {flow['why']}", ""]
        lines += [
            f"- {root['resource']}.{root['flow_kind']}: {root['remedy']}"
            for root in flow["roots"]
            if root["remedy"]
        ]
        lines += ["", *_diagram(flow["chain"]), ""] if len(flow["chain"]) > 1 else [""]
    return "\n".join(lines)


def _diagram(chain: list[Document]) -> list[str]:
    """The chain as mermaid: what blocks points to what it blocks, each coloured by its status."""
    keys = {finding["flow_id"]: f"n{at}" for at, finding in enumerate(chain)}
    lines = ["```mermaid", "flowchart LR"]
    for finding in chain:
        text = f"{finding['resource']}.{finding['flow_kind']}<br/>{finding['status']}"
        if not finding["waits_for"]:
            text += f"<br/>{_plain(finding['why'])}"
        lines.append(f'  {keys[finding["flow_id"]]}["{text}"]:::{finding["status"]}')
    for finding in chain:
        lines += [
            f"  {keys[upstream]} --> {keys[finding['flow_id']]}"
            for upstream in finding["waits_for"]
        ]
    lines += [f"  classDef {name} fill:{style},color:#111" for name, style in COLOURS.items()]
    return [*lines, "```"]


def _plain(text: str, limit: int = 80) -> str:
    """Text that a mermaid label can hold."""
    kept = "".join(letter if letter.isalnum() or letter in " .,:;/_-" else " " for letter in text)
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."
