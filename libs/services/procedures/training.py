"""The procedure of training: fit, validate, log, and promote by the rule."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
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
    Split,
    build_features,
    get_model_spec,
    label_rows,
    list_features,
)
from prefect_instances.libs.services.procedures.walk_forward import (
    ScoredFold,
    compare_models,
    describe_folds,
    mean_scores,
    predict_earlier,
    score_fold,
    select_forward_folds,
    split_folds,
    split_for_publication,
    tabulate_folds,
    take_sample,
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
EARLIER = "earlier.parquet"
"""File stored with a model: the predictions of the folds before the newest one."""
SMALLER_IS_BETTER = frozenset({"rmse"})


@dataclass(frozen=True)
class _Candidate:
    """A fitted model with its validation scores; ``digest`` is the hash of its predictions.

    ``scores`` are means over ``folds``. ``compared`` are the folds that the rule of promotion looks
    at. ``earlier`` are the predictions of those before the newest one, made by their own models.
    """

    module: MLModule
    model: Any
    sample: Sample
    split: Split
    scores: dict[str, float]
    digest: str
    folds: Sequence[ScoredFold]
    compared: Sequence[ScoredFold]
    earlier: pl.DataFrame


def train(job: Job) -> Result:
    """Train a model; publish it only if it becomes the champion."""
    module = open_module(job)
    candidate = _candidate(job, module, build_features(job))
    incumbent, lost = _incumbent(job)
    metrics: dict[str, object] = {**candidate.scores}
    better = True
    if incumbent is not None:
        ours, against = _compare(job, candidate, incumbent)
        metrics["champion_version"] = incumbent.version
        metrics |= {f"champion_{name}": value for name, value in against.items()}
        better = is_better(get_model_spec(job).promotion, ours, against)
        if len(candidate.folds) > 1:
            metrics |= {f"compared_{name}": value for name, value in ours.items()}
    # If the files are gone, the version is published again, even if the model is the same.
    same = not lost and job.current is not None and candidate.digest == job.current.content_hash
    promoted = better and (not same or job.run.parameters.force)
    if len(candidate.folds) > 1:
        rows = tabulate_folds(candidate.folds)
        metrics["folds"] = {f"fold {row['fold']}": row for row in rows}
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
    spec = get_model_spec(job)
    names, rows = list_features(spec), label_rows(job, known)
    splits = split_folds(rows, spec.split, spec.target.horizon)
    folds = [score_fold(module, names, split) for split in splits]
    parts = split_for_publication(rows, spec.split, splits)
    published = folds[-1] if parts is splits[-1] else score_fold(module, names, parts)
    compared = select_forward_folds(spec.split, folds, published)
    earlier = predict_earlier(module, names, compared, known)
    said = {"module": module.name, "names": names, "from": str(parts.predict_from)}
    digest = hashlib.sha256(json.dumps(said).encode())
    digest.update(module.predict(published.model, known.select(names).to_numpy()).tobytes())
    if earlier.height:
        digest.update(earlier["prediction"].to_numpy().tobytes())
    scores = mean_scores([fold.scores for fold in folds])
    sample = take_sample(names, parts)
    return _Candidate(
        module, published.model, sample, parts, scores, digest.hexdigest(), folds, compared, earlier
    )


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


def _compare(
    job: Job, candidate: _Candidate, incumbent: LoadedModel
) -> tuple[dict[str, float], dict[str, float]]:
    """Score candidate and published model where neither was trained; see ``compare_models``."""
    names = list_features(get_model_spec(job))
    since = date.fromisoformat(incumbent.tags["predict_from"])
    return compare_models(candidate.module, names, candidate.compared, incumbent.model, since)


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
        folds=[fold.scores for fold in candidate.folds] if len(candidate.folds) > 1 else (),
        files=_files(candidate),
        inputs=inputs,
        model=candidate.model,
        example=rows.select(list_features(spec)).to_pandas(),
        requirements=candidate.module.requirements,
        tags={"run": str(job.run.id), "instance": str(job.instance.id)},
    )


def _files(candidate: _Candidate) -> dict[str, bytes]:
    if not candidate.earlier.height:
        return {}
    buffer = io.BytesIO()
    candidate.earlier.write_parquet(buffer)
    return {EARLIER: buffer.getvalue()}


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
            if not isinstance(value, Mapping)
        ),
    ]
    if len(candidate.folds) > 1:
        lines += ["", *describe_folds(tabulate_folds(candidate.folds))]
    row = read_model_row(job.services, job.instance.id)
    handles = {"mlflow_experiment_id": row.mlflow_experiment_id}
    lines += format_links(link_run(job.services.settings, handles, metrics))
    if found:
        plot = plot_bars("feature importance", dict(found))
        lines += ["", f"![feature importance]({plot})"]
    return [Page("model", "markdown", "\n".join(lines), "Scores and feature importance")]
