"""What a run reported: its numbers and the pages that Prefect shows, as one object."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect_instances.libs.core.errors import InstancesError, InvalidSpec, NotFound, Problem
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import FlowKind, InstanceType
from prefect_instances.libs.services.composition.model_stores import monitoring
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.markdown import render_markdown
from prefect_instances.libs.services.rendering.tables import draw_rows
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import reports

END_SECONDS = 30.0
"""So long a report waits for a run that still writes its pages."""

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class RunReport:
    """The report of one run; a notebook shows its pages.

    ``metrics`` are the numbers recorded with the run. ``pages`` are the pages in Prefect as HTML by
    title, empty if Prefect does not answer (``missing`` says why). ``file`` is Evidently's page of
    a drift report in the home, None if there is none.
    """

    instance: str
    flow: str
    run_id: UUID
    ended_at: datetime | None
    metrics: Mapping[str, Any]
    pages: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    missing: str = ""

    def __repr__(self) -> str:
        ended = f"{self.ended_at:%Y-%m-%d %H:%M} UTC" if self.ended_at else "not ended"
        head = f"{self.instance}: {self.flow}, {ended}, run {self.run_id}"
        width = max((len(name) for name in self.metrics), default=0)
        lines = [f"  {name:<{width}}  {format_value(value)}" for name, value in self.numbers]
        file = [f"  drift report: {self.file}"] if self.file else []
        return "\n".join([head, *lines, *file])

    @property
    def numbers(self) -> list[tuple[str, Any]]:
        """Return the metrics that are single values, by name."""
        return [(n, v) for n, v in self.metrics.items() if not isinstance(v, Mapping | list)]

    def _repr_html_(self) -> str:
        head = f"<h3>{escape(self.instance)}: {escape(self.flow)}</h3>"
        if not self.pages:
            rows = [(name.replace("_", " "), format_value(value)) for name, value in self.numbers]
            note = f"<p>{escape(self.missing)}</p>" if self.missing else ""
            return head + note + draw_rows(("measure", ""), rows)
        return head + "".join(self.pages.values())

    def save(self, path: Path | str) -> Path:
        """Write the report as one HTML file that needs no internet; return its path."""
        target = Path(path)
        title = escape(f"{self.instance}: {self.flow}")
        target.write_text(
            f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
            f'<body style="font-family:sans-serif;margin:2em">{self._repr_html_()}</body>',
            encoding="utf-8",
        )
        return target


def build_report(services: Services, name: str, flow: str = "", run: str = "") -> RunReport:
    """Build the report of an instance's newest successful run, or of the run with an id.

    ``flow`` is the kind of flow; "" is a model's training, and the only flow of any other instance.
    Raises NotFound for an unknown name or run, and if no run has succeeded; InvalidSpec for a kind
    of flow that the instance does not have.
    """
    (entry,) = reports.status(services.database, services.now(), name)["instances"]
    label = f"{entry['project']}/{entry['name']}"
    document = _choose_run(services, label, _choose_kind(entry, flow), run)
    pages, missing = _read_pages(services, UUID(document["prefect_flow_run_id"]))
    ended = document["ended_at"]
    return RunReport(
        instance=label,
        flow=document["flow_kind"],
        run_id=UUID(document["id"]),
        ended_at=datetime.fromisoformat(ended) if ended else None,
        metrics=document["metrics"] or {},
        pages=pages,
        file=_find_file(services, document),
        missing=missing,
    )


def _choose_kind(entry: Mapping[str, Any], flow: str) -> str:
    kinds = [each["kind"] for each in entry["flows"]]
    if flow and flow not in kinds:
        raise InvalidSpec(
            [Problem("flow", f"there is no {flow!r}; choose one of {', '.join(kinds)}")]
        )
    if flow:
        return flow
    return (
        FlowKind.TRAINING if entry["type"] == InstanceType.MODEL else SHAPES[entry["type"]].output
    )


def _choose_run(services: Services, label: str, kind: str, run: str) -> dict[str, Any]:
    for each in reports.runs(services.database, label)["runs"]:
        if run and run in (each["id"], each["prefect_flow_run_id"]):
            return dict(each)
        if not run and (each["flow_kind"], each["status"]) == (kind, "completed"):
            return dict(each)
    if run:
        raise NotFound("run", run, owner=label)
    raise NotFound("report", f"of {label}: no {kind} run has succeeded yet")


def _read_pages(services: Services, flow_run_id: UUID) -> tuple[dict[str, str], str]:
    """Return the pages of a flow run as HTML by title, and why there are none.

    A run writes them when its output is READY already, and before it ends: wait for that.
    """
    try:
        _await_end(services, flow_run_id)
        found = services.prefect.list_artifacts(flow_run_id)
    except InstancesError as error:
        return {}, f"only the numbers: {error}"
    return {page.title: _draw_page(page.type, page.data) for page in found}, ""


def _await_end(services: Services, flow_run_id: UUID) -> None:
    until = time.monotonic() + END_SECONDS
    while time.monotonic() < until:
        run = services.prefect.read_runs([flow_run_id]).get(flow_run_id)
        if run is None or run.ended:
            return
        time.sleep(POLL_SECONDS)


def _draw_page(type_: str, data: Any) -> str:
    if type_ != "table":
        return render_markdown(str(data))
    rows: Sequence[Mapping[str, object]] = data if isinstance(data, list) else []
    headers = list(rows[0]) if rows else []
    return draw_rows(headers, [[row.get(name) for name in headers] for row in rows])


def _find_file(services: Services, document: Mapping[str, Any]) -> Path | None:
    """Return Evidently's page of a monitoring run in the home."""
    if document["flow_kind"] != FlowKind.MONITORING:
        return None
    handles = reports.run_info(services.database, document["id"])["handles"]
    project = handles.get("evidently_project_id")
    return monitoring(services).find_page(project, document["id"]) if project else None
