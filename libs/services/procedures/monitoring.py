"""The procedure of monitoring: predictions against outcomes, features against the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_instances.libs.adapters.evidently import DriftReport, DriftWindows
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.repositories.flows import select_flow
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.services.composition.model_stores import monitoring, read_model_row
from prefect_instances.libs.services.procedures.features import (
    LABEL_END,
    MIN_ROWS,
    TARGET,
    build_features,
    build_targets,
    get_model_spec,
    list_features,
)
from prefect_instances.libs.services.procedures.panels import get_input
from prefect_instances.libs.services.procedures.training import open_module
from prefect_instances.libs.services.rendering.links import (
    EVIDENTLY_REPORT,
    format_links,
    link_instance,
    link_run,
)
from prefect_instances.libs.services.runs.run_context import Job, Result
from prefect_instances.libs.services.state.ledger import Drift

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    import polars as pl


def monitor(job: Job) -> Result:
    """Judge predictions and drift; the result has metrics and no output."""
    rows = _judged(job)
    reference, current = _windows(job, rows)
    if min(reference.height, current.height) < MIN_ROWS:
        known: dict[str, object] = {"judged_rows": rows.height, "report": "too few rows yet"}
        return Result(None, known)
    spec, project = (
        get_model_spec(job),
        read_model_row(job.services, job.instance.id).evidently_project_id,
    )
    assert project is not None
    names = list_features(spec)
    report = monitoring(job.services).report(
        project,
        str(job.run.id),
        DriftWindows(reference.to_pandas(), current.to_pandas(), names),
        save=not job.replay,
    )
    module = open_module(job)
    quality = module.monitor(current["prediction"].to_numpy(), current[TARGET].to_numpy())
    drifted = report.drift_share >= spec.monitoring.drift_threshold and report.drift_share > 0
    numbers: dict[str, object] = {
        **quality,
        **{f"evidently_{name}": value for name, value in report.quality.items()},
        "drift_share": report.drift_share,
        "drifted": drifted,
        "drift": dict(report.drift),
        "judged_from": str(current["date"].min()),
        "judged_to": str(current["date"].max()),
        **({EVIDENTLY_REPORT: report.id} if report.id else {}),
    }
    return Result(
        None,
        numbers,
        _pages(job, report),
        drift=_drift(job, report) if drifted else None,
    )


def _judged(job: Job) -> pl.DataFrame:
    """Join the predictions whose outcome is known with their features; by date, symbol."""
    keys = ["date", "symbol"]
    predictions = get_input(job, "predictions").frame.select(*keys, "prediction").collect()
    outcomes = build_targets(job).drop(LABEL_END)
    rows = predictions.join(outcomes, on=keys).join(build_features(job), on=keys)
    return rows.sort(keys)


def _windows(job: Job, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of the reference window and of the newest sessions, which follow it."""
    import polars as pl

    asked = get_model_spec(job).monitoring
    dates: list[date] = rows["date"].unique().sort().to_list()
    newest = dates[-asked.current_days :]
    before = dates[: -asked.current_days][-asked.reference_days :]
    return rows.filter(pl.col("date").is_in(before)), rows.filter(pl.col("date").is_in(newest))


def _drift(job: Job, report: DriftReport) -> Drift:
    asked = get_model_spec(job).monitoring
    retrain = _training_flow(job) if asked.on_drift == "retrain" else None
    said = {
        "drift_share": report.drift_share,
        "threshold": asked.drift_threshold,
        "drift": dict(report.drift),
    }
    return Drift(said, retrain)


def _training_flow(job: Job) -> UUID:
    with job.services.database.read() as session:
        flow = select_flow(session, job.instance.id, FlowKind.TRAINING)
    assert flow is not None, "every model has a flow that trains it"
    return flow.id


def _pages(job: Job, report: DriftReport) -> list[Page]:
    rows = [
        {"feature": name, "stability index": round(value, 4)}
        for name, value in sorted(report.drift.items(), key=lambda pair: -pair[1])
    ]
    lines = [
        f"## {job.instance.label}: drift",
        "",
        f"{report.drift_share:.0%} of the features drifted.",
        *(["", f"The report is the file `{report.html}`."] if report.html else []),
        *format_links(_links(job, report)),
        "",
        "| feature | stability index |",
        "|---|---|",
        *(f"| {row['feature']} | {row['stability index']} |" for row in rows),
    ]
    return [
        Page("drift", "markdown", "\n".join(lines), "Drift summary"),
        Page("drift-table", "table", rows, "Drift of each feature"),
    ]


def _links(job: Job, report: DriftReport) -> dict[str, str]:
    settings = job.services.settings
    handles = {
        "evidently_project_id": read_model_row(job.services, job.instance.id).evidently_project_id
    }
    return {
        **link_run(settings, handles, {EVIDENTLY_REPORT: report.id}),
        **link_instance(settings, handles),
    }
