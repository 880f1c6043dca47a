"""The procedure of training: fit, validate, log, and promote by the rule."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.adapters.mlflow import (
    CHALLENGER,
    CHAMPION,
    LoadedModel,
    LoggedInput,
    Training,
)
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.db.models import ModelInstance
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.ml_module import MLModule, Sample
from prefect_instances.libs.definitions.store import StoredVersion
from prefect_instances.libs.services.composition.model_stores import (
    build_experiment_name,
    build_model_name,
    parse_version_number,
    read_model_row,
    tracking,
)
from prefect_instances.libs.services.procedures.features import (
    TARGET,
    Split,
    build_features,
    get_model_spec,
    list_features,
    split_rows,
)
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.links import MLFLOW_RUN, format_links, link_run
from prefect_instances.libs.services.rendering.plots import plot_bars
from prefect_instances.libs.services.runs.run_context import Job, Result, Stored
from prefect_instances.libs.specs import PromotionSpec

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy.orm import Session

_log = logging.getLogger("instances.training")

EXAMPLE_ROWS = 5
SMALLER_IS_BETTER = frozenset({"rmse"})


@dataclass(frozen=True)
class _Candidate:
    """A fitted model with its validation scores; ``digest`` is the hash of its predictions."""

    module: MLModule
    model: Any
    sample: Sample
    split: Split
    scores: dict[str, float]
    digest: str


def train(job: Job) -> Result:
    """Train a model; publish it only if it becomes the champion."""
    module = open_module(job)
    candidate = _candidate(job, module, build_features(job))
    incumbent, lost = _incumbent(job)
    metrics: dict[str, object] = {**candidate.scores}
    better = True
    if incumbent is not None:
        against = _scores_of_incumbent(job, candidate, incumbent)
        metrics["champion_version"] = incumbent.version
        metrics |= {f"champion_{name}": value for name, value in against.items()}
        better = is_better(get_model_spec(job).promotion, candidate.scores, against)
    # If the files are gone, the version is published again, even if the model is the same.
    same = not lost and job.current is not None and candidate.digest == job.current.content_hash
    promoted = better and (not same or job.run.parameters.force)
    metrics |= {"promoted": promoted, "predict_from": str(candidate.split.predict_from)}
    name = build_model_name(job.instance.project, job.instance.name, job.instance.id)
    version, blocked = 0, None
    if not job.replay:
        known = same and not promoted
        version, run_id = _keep(job, candidate, name, same=known)
        metrics |= {"model_version": version, MLFLOW_RUN: run_id}
        blocked = None if known else _mark(job, name, version)
    pages = _pages(job, candidate, metrics)
    if not promoted and not (job.replay and same):
        challenge = None if same else _alias(job, CHALLENGER, name, version)
        return Result(None, metrics, pages, after=challenge, blocked=blocked)
    return Result(
        _stored(candidate, name, version, renewed=lost),
        metrics,
        pages,
        record=lambda session: _record_name(session, job, name),
        after=_alias(job, CHAMPION, name, version),
        blocked=blocked,
    )


def _alias(job: Job, alias: str, name: str, version: int) -> Callable[[], None]:
    """Return a callback that points the alias at the version."""
    return lambda: tracking(job.services).promote(name, alias, version)


def _mark(job: Job, name: str, version: int) -> Callable[[str], None]:
    """Return a callback that records on the model version why a guardrail blocked it.

    The version is kept as evidence.
    """
    return lambda why: tracking(job.services).block(name, version, why)


def open_module(job: Job) -> MLModule:
    """The model's definition, configured."""
    module = job.opened.main
    assert isinstance(module, MLModule)
    return module


def _candidate(job: Job, module: MLModule, known: pl.DataFrame) -> _Candidate:
    names = list_features(get_model_spec(job))
    parts = split_rows(job, known)
    sample = Sample(
        names, parts.training.select(names).to_numpy(), parts.training[TARGET].to_numpy()
    )
    model = module.train(sample)
    judged = module.predict(model, parts.validation.select(names).to_numpy())
    scores = dict(module.monitor(judged, parts.validation[TARGET].to_numpy()))
    said = {"module": module.name, "names": names, "from": str(parts.predict_from)}
    digest = hashlib.sha256(json.dumps(said).encode())
    digest.update(module.predict(model, known.select(names).to_numpy()).tobytes())
    return _Candidate(module, model, sample, parts, scores, digest.hexdigest())


def _incumbent(job: Job) -> tuple[LoadedModel | None, bool]:
    """Load the published model; return it, and True if it is lost.

    The model is None if there is none or it was trained on other features. A model whose version or
    files are gone from MLflow counts as lost, otherwise no training could ever replace it. Raises
    Unavailable if MLflow does not answer.
    """
    if job.current is None:
        return None, False
    name = build_model_name(job.instance.project, job.instance.name, job.instance.id)
    store, version = tracking(job.services), parse_version_number(job.current.location)
    try:
        loaded = store.load(name, version)
    except PermanentError as gone:
        _log.warning("version %d of %s is lost, this run replaces it: %s", version, name, gone)
        return None, True
    same = loaded.tags.get("features") == json.dumps(list_features(get_model_spec(job)))
    return (loaded if same else None), False


def _scores_of_incumbent(
    job: Job, candidate: _Candidate, incumbent: LoadedModel
) -> dict[str, float]:
    """Score the published model on the candidate's validation rows."""
    rows = candidate.split.validation
    values = rows.select(list_features(get_model_spec(job))).to_numpy()
    predicted = candidate.module.predict(incumbent.model, values)
    return dict(candidate.module.monitor(predicted, rows[TARGET].to_numpy()))


def is_better(rule: PromotionSpec, new: Mapping[str, float], old: Mapping[str, float]) -> bool:
    """Return True if a model with the scores ``new`` replaces one with the scores ``old``.

    NaN is worse than any number.
    """
    if rule.rule == "always":
        return True
    if math.isnan(old[rule.metric]):
        return not math.isnan(new[rule.metric])
    gain = new[rule.metric] - old[rule.metric]
    if rule.metric in SMALLER_IS_BETTER:
        gain = -gain
    return bool(gain > rule.min_improvement)


def _keep(job: Job, candidate: _Candidate, name: str, *, same: bool) -> tuple[int, str]:
    """Log the run and register its model; return model version and MLflow run id.

    With ``same``, the published model is the same, and no version is registered.
    """
    store, row = tracking(job.services), read_model_row(job.services, job.instance.id)
    assert row.mlflow_experiment_id is not None
    made_as = build_experiment_name(job.instance.project, job.instance.name, job.instance.id)
    if not store.has_experiment(row.mlflow_experiment_id, made_as):
        raise PermanentError(
            f"the experiment of {job.instance.label} is not in MLflow; "
            "`instances reconcile` creates it again"
        )
    run_id = store.log(row.mlflow_experiment_id, _logged(job, candidate))
    if same and job.current is not None:
        return parse_version_number(job.current.location), run_id
    tags = {
        "run": str(job.run.id),
        "features": json.dumps(list_features(get_model_spec(job))),
        "predict_from": str(candidate.split.predict_from),
    }
    return store.register(name, run_id, tags), run_id


def _logged(job: Job, candidate: _Candidate) -> Training:
    spec = get_model_spec(job)
    rows = candidate.split.training.head(EXAMPLE_ROWS)
    parameters = {
        "module": f"{candidate.module.name} {candidate.module.version}",
        **candidate.module.config.model_dump(mode="json"),
        **{f"target.{key}": value for key, value in spec.target.model_dump().items()},
        **{f"split.{key}": value for key, value in spec.split.model_dump().items()},
        "features": ", ".join(list_features(spec)),
    }
    inputs = [
        LoggedInput(
            name=item.resource,
            role=item.role,
            version=f"{item.version.generation} ({item.version.id})",
            digest=item.version.content_hash,
            uri=item.version.location,
        )
        for item in job.inputs
    ]
    return Training(
        run_name=f"{job.instance.name} {job.run.started_at:%Y-%m-%d %H:%M}",
        parameters=parameters,
        metrics=candidate.scores,
        inputs=inputs,
        model=candidate.model,
        example=rows.select(list_features(spec)).to_pandas(),
        requirements=candidate.module.requirements,
        tags={"run": str(job.run.id), "instance": str(job.instance.id)},
    )


def _stored(candidate: _Candidate, name: str, version: int, *, renewed: bool) -> Stored:
    dates = candidate.split.training["date"]
    made = StoredVersion(
        location=f"models:/{name}/{version}",
        rows=candidate.split.training.height,
        min_date=dates.min(),  # type: ignore[arg-type]  # a column of dates
        max_date=dates.max(),  # type: ignore[arg-type]  # a column of dates
        schema_hash=hashlib.sha256(json.dumps(candidate.sample.names).encode()).hexdigest(),
    )
    return Stored(made, candidate.digest, candidate.sample.names, renewed)


def _record_name(session: Session, job: Job, name: str) -> None:
    """Record the registered model's name, which exists once a version is published."""
    session.get_one(ModelInstance, job.instance.id).mlflow_registered_model_name = name


def _pages(job: Job, candidate: _Candidate, metrics: dict[str, object]) -> list[Page]:
    found = candidate.module.importance(candidate.model, candidate.sample)
    lines = [
        f"## {job.instance.label}: training",
        "",
        "| | |",
        "|---|---|",
        *(
            f"| {name.replace('_', ' ')} | {format_value(value)} |"
            for name, value in metrics.items()
        ),
    ]
    row = read_model_row(job.services, job.instance.id)
    handles = {"mlflow_experiment_id": row.mlflow_experiment_id}
    lines += format_links(link_run(job.services.settings, handles, metrics))
    if found:
        plot = plot_bars("feature importance", dict(found))
        lines += ["", f"![feature importance]({plot})"]
    return [Page("model", "markdown", "\n".join(lines), "Scores and feature importance")]
