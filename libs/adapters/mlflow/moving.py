"""Addresses in an embedded store that follow its folder.

MLflow keeps absolute addresses of artifacts in its database, so that they are wrong after the home
was moved or copied. It has no call that changes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ARTIFACTS = "artifacts"


def artifact_location(folder: Path, experiment: str) -> str:
    """Return where an embedded store keeps the artifacts of the experiment of that name."""
    return (folder / ARTIFACTS / experiment.rpartition(" ")[2]).as_uri()


def follow_folder(client: Any, folder: Path) -> int:
    """Point every address of our experiments into ``folder``; return how many experiments moved."""
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun

    store = client._tracking_client.store
    with store.ManagedSessionMaker(read_only=False) as session:
        moved = _moved(session.query(SqlExperiment).all(), folder)
        for experiment, new in moved:
            old, experiment.artifact_location = experiment.artifact_location, new
            for table, column in ((SqlRun, "artifact_uri"), (SqlLoggedModel, "artifact_location")):
                rows = session.query(table).filter_by(experiment_id=experiment.experiment_id)
                _replace(rows, column, old, new)
            # The registry is in the same database; one transaction changes all or nothing.
            for column in ("source", "storage_location"):
                _replace(session.query(SqlModelVersion), column, old, new)
    return len(moved)


def _moved(experiments: list[Any], folder: Path) -> list[tuple[Any, str]]:
    """Return the experiments whose artifacts were below another folder, and their new places."""
    found = []
    for experiment in experiments:
        old = experiment.artifact_location or ""
        place = f"/{ARTIFACTS}/{old.rpartition('/')[2]}"
        new = f"{folder.as_uri()}{place}"
        # Only what is laid out as we do: the default experiment has no artifacts of ours.
        if old.startswith("file:") and old.endswith(place) and old != new:
            found.append((experiment, new))
    return found


def _replace(rows: Any, column: str, old: str, new: str) -> None:
    """Replace the beginning ``old`` of a column in all rows that have it."""
    for row in rows:
        value = getattr(row, column) or ""
        if value == old or value.startswith(f"{old}/"):
            setattr(row, column, new + value.removeprefix(old))
