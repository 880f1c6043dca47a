"""Permanent deletion of an experiment, as far as its store allows.

An embedded store retains nothing: neither rows nor files. A server has no call that removes an
experiment or a run: there the artifacts are deleted, the runs and the experiment are marked as
deleted, and the name becomes free; ``mlflow gc``, run beside the server, removes the marked rows.
"""

from __future__ import annotations

import shutil
from typing import Any

PURGED = " (purged)"
"""Suffix of the name of an experiment whose content was deleted on a server."""


def purge_embedded(client: Any, experiment: Any) -> None:
    """Remove files and rows of a deleted experiment; may be repeated after a crash."""
    # Delete the files first: without the rows they could not be found.
    shutil.rmtree(experiment.artifact_location.removeprefix("file://"), ignore_errors=True)
    store = client._tracking_client.store
    while runs := _runs(client, experiment.experiment_id):
        for run in runs:
            _delete_inputs(store, run.info.run_id)
            store._hard_delete_run(run.info.run_id)
    store._hard_delete_experiment(experiment.experiment_id)


def purge_served(client: Any, url: str, experiment: Any) -> None:
    """Delete the artifacts of an experiment and free its name; the experiment itself remains."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place: Any = get_artifact_repository(experiment.artifact_location, tracking_uri=url)
    place.delete_artifacts()
    if experiment.lifecycle_stage != "deleted" and not experiment.name.endswith(PURGED):
        client.rename_experiment(experiment.experiment_id, experiment.name + PURGED)


def _runs(client: Any, experiment_id: str) -> list[Any]:
    from mlflow.entities import ViewType

    return list(client.search_runs([experiment_id], run_view_type=ViewType.ALL, max_results=1000))


def _delete_inputs(store: Any, run_id: str) -> None:
    """Delete the datasets that a run read: no key links them, and ``mlflow gc`` skips them."""
    from mlflow.store.tracking.dbmodels.models import SqlInput, SqlInputTag

    with store.ManagedSessionMaker(read_only=False) as session:
        inputs = session.query(SqlInput).filter(SqlInput.destination_id == run_id)
        ids = [row.input_uuid for row in inputs]
        session.query(SqlInputTag).filter(SqlInputTag.input_uuid.in_(ids)).delete()
        inputs.delete()
