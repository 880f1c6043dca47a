"""One MLflow: an embedded store in the home (no server), or the server of a URL."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect_instances.libs.adapters.mlflow.moving import (
    ARTIFACTS,
    artifact_location,
    follow_folder,
)
from prefect_instances.libs.adapters.mlflow.purging import purge_embedded, purge_served
from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.errors import PermanentError, Unavailable

CHAMPION, CHALLENGER = "champion", "challenger"
MODEL_FOLDER = "model"
TAG = "instances."
"""Prefix of the tags that we read back."""
EXPERIMENT = TAG + "experiment"
"""Tag of an experiment: its original name, which people may change."""
BLOCKED = "blocked"
"""Tag of a version that a guardrail blocked: the reason."""
TEXT_LENGTH = 2000
CHECK_SECONDS = 5.0
SERVER_ERRORS = range(500, 600)
RETRIES = "3"
"""Retries of a request to a server: MLflow's own default takes minutes, and runs are retried."""


@dataclass(frozen=True, slots=True)
class LoggedInput:
    """A dataset version that a training read; ``uri`` leads to it."""

    name: str
    role: str
    version: str
    digest: str
    uri: str


@dataclass(frozen=True)
class Training:
    """The record of a training run in MLflow; ``example`` holds a few rows of features by name.

    ``folds``: the metrics of each fold, logged as steps of ``fold_NAME``. ``files``: further files
    by name, which are stored with the model.
    """

    run_name: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    inputs: Sequence[LoggedInput]
    model: Any
    example: Any
    requirements: Sequence[str]
    tags: Mapping[str, str]
    folds: Sequence[Mapping[str, float]] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version, its tags, and by name the Parquet files that are stored with it."""

    version: int
    model: Any
    tags: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)


class Tracking:
    """The operations on one tracking store; an empty ``url`` means the one in ``folder``.

    The user and the password in ``url``, if any, are passed to MLflow in its own environment
    variables, so that no address in a log or an error repeats them.
    """

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.embedded = not url
        self._address = Address.parse(url) if url else Address(f"sqlite:///{folder / 'mlflow.db'}")
        self.url = self._address.url
        self._ready = False

    def prepare(self) -> None:
        """Create or migrate the embedded schema under a lock: concurrent first uses would race.

        If the folder was moved or copied, the addresses of the artifacts follow it.
        """
        if not self.embedded:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _translated():
                self._connected.search_experiments(max_results=1)
            if self._prepared.exists() or self.folder.joinpath(ARTIFACTS).exists():
                with _translated():
                    follow_folder(self._connected, self.folder)
            self._prepared.write_text(str(self.folder))

    @property
    def _prepared(self) -> Path:
        """Return the marker file: it names the folder if the schema matches the installed MLflow.

        The database alone does not show that: it also exists during a migration.
        """
        return self.folder / f"schema-of-{importlib.metadata.version('mlflow')}"

    def _is_prepared(self) -> bool:
        try:
            return self._prepared.read_text() == str(self.folder)
        except FileNotFoundError:
            return False

    @property
    def client(self) -> Any:
        """Return MLflow's client, with the embedded schema ready."""
        if self.embedded and not self._ready:
            if not self._is_prepared():
                self.prepare()
            self._ready = True
        return self._connected

    @cached_property
    def _connected(self) -> Any:
        _configure(self._address)
        from mlflow import MlflowClient

        with _translated():
            return MlflowClient(tracking_uri=self.url, registry_uri=self.url)

    def check(self) -> str:
        """Describe the store or the server that answers.

        Raises Unavailable if there is no answer, PermanentError if access is denied.
        """
        if self.embedded:
            return f"embedded, in {self.folder}"
        import httpx

        try:
            answer = httpx.get(f"{self.url}/version", timeout=CHECK_SECONDS)
        except httpx.HTTPError as error:
            raise Unavailable("MLflow", f"no answer at {self.url}: {error}") from error
        if answer.status_code in SERVER_ERRORS:
            raise Unavailable("MLflow", f"{self.url} answers {answer.status_code}")
        with _translated():
            self.client.search_experiments(max_results=1)
        version = answer.text.strip() if answer.is_success else "a server"
        return f"{version} at {self.url}"

    def ensure_experiment(self, name: str) -> str:
        """Return the id of the experiment of that name; create it if there is none."""
        with _translated():
            found = self.client.get_experiment_by_name(name)
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    self.client.restore_experiment(found.experiment_id)
                return str(found.experiment_id)
            place = artifact_location(self.folder, name) if self.embedded else None
            made = self.client.create_experiment(name, place, tags={EXPERIMENT: name})
            self._require_shared_artifacts(made, name)
            return str(made)

    def _require_shared_artifacts(self, experiment_id: str, name: str) -> None:
        """Raise if the server hands out local paths: models would stay on each run's machine."""
        location = self.client.get_experiment(experiment_id).artifact_location
        if self.embedded or urlsplit(location).scheme not in ("", "file"):
            return
        self.delete_experiment(experiment_id, name, purge=True)
        raise PermanentError(
            f"MLflow at {self.url} keeps models in {location}, which only its own machine sees: "
            "start it with --serve-artifacts and --artifacts-destination"
        )

    def find_experiment(self, name: str) -> str | None:
        """Return the id of the experiment of that name, deleted or not; None if there is none."""
        with _translated():
            found = self.client.get_experiment_by_name(name)
            return None if found is None else str(found.experiment_id)

    def has_experiment(self, experiment_id: str, name: str) -> bool:
        """Return True if the experiment created as ``name`` exists and is not deleted.

        In another store the same id, a small number, may be a different experiment.
        """
        with _translated():
            found = self._experiment(experiment_id, name)
            return found is not None and found.lifecycle_stage != "deleted"

    def delete_experiment(self, experiment_id: str, name: str, *, purge: bool) -> None:
        """Delete the experiment that was created as ``name``; a missing one is no error.

        It can be restored, unless ``purge`` removes its content too (see ``purging``).
        """
        with _translated():
            found = self._experiment(experiment_id, name)
            if found is None:
                return
            if purge and not self.embedded:
                purge_served(self.client, self.url, found)
            if found.lifecycle_stage != "deleted":
                self.client.delete_experiment(experiment_id)
            if purge and self.embedded:
                purge_embedded(self.client, found)

    def _experiment(self, experiment_id: str, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_experiment(experiment_id)
            ours = name in (found.name, found.tags.get(EXPERIMENT))
            return found if ours else None
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def log(self, experiment_id: str, training: Training) -> str:
        """Log a finished training with its model; return the run's id."""
        with _translated():
            run = self.client.create_run(experiment_id, run_name=training.run_name)
            run_id = str(run.info.run_id)
            for name, value in training.parameters.items():
                self.client.log_param(run_id, name, str(value)[:500])
            for name, number in training.metrics.items():
                self.client.log_metric(run_id, name, number)
            for step, scores in enumerate(training.folds, start=1):
                for name, number in scores.items():
                    self.client.log_metric(run_id, f"fold_{name}", number, step=step)
            for name, text in training.tags.items():
                self.client.set_tag(run_id, TAG + name, text)
            self.client.log_inputs(run_id, [_dataset(item) for item in training.inputs])
            self._log_model(run_id, training)
            self.client.set_terminated(run_id)
        return run_id

    def _log_model(self, run_id: str, training: Training) -> None:
        import mlflow.sklearn
        from mlflow.models import infer_signature

        example = training.example
        signature = infer_signature(example, training.model.predict(example.to_numpy()))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / MODEL_FOLDER
            mlflow.sklearn.save_model(
                training.model,
                str(place),
                signature=signature,
                pip_requirements=[
                    f"{name}=={importlib.metadata.version(name)}" for name in training.requirements
                ],
                serialization_format="cloudpickle",
            )
            for name, content in training.files.items():
                (place / name).write_bytes(content)
            self.client.log_artifacts(run_id, str(place), MODEL_FOLDER)

    def register(self, name: str, run_id: str, tags: Mapping[str, str]) -> int:
        """Register a run's model as a new version; return its number."""
        from mlflow.exceptions import MlflowException

        with _translated():
            try:
                self.client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            uri = self.client.get_run(run_id).info.artifact_uri
            marked = {TAG + key: value for key, value in tags.items()}
            source = f"{uri}/{MODEL_FOLDER}"
            made = self.client.create_model_version(name, source, run_id=run_id, tags=marked)
            return int(made.version)

    def mark(self, name: str, version: int, tag: str, value: str) -> None:
        """Set a tag of a model version."""
        with _translated():
            self.client.set_model_version_tag(name, str(version), TAG + tag, value)

    def block(self, name: str, version: int, why: str) -> None:
        """Record why a model version must not serve, in its description and in a tag."""
        why = why[:TEXT_LENGTH]
        with _translated():
            self.client.update_model_version(name, str(version), description=why)
        self.mark(name, version, BLOCKED, why)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        with _translated():
            self.client.set_registered_model_alias(name, alias, str(version))

    def promote(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version and record that this project did it, not a person."""
        self.set_alias(name, alias, version)
        self.mark(name, version, alias, "yes")

    def find_version_by_alias(self, name: str, alias: str) -> int | None:
        """Return the version that an alias points at; None if there is none."""
        from mlflow.exceptions import MlflowException

        with _translated():
            try:
                return int(self.client.get_model_version_by_alias(name, alias).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def list_runs(self, experiment_id: str) -> list[tuple[str, str]]:
        """List an experiment's runs as (MLflow's id, id of our run; "" if it is another's)."""
        with _translated():
            found = self._all(self.client.search_runs, [experiment_id])
            return [(run.info.run_id, run.data.tags.get(TAG + "run", "")) for run in found]

    def list_versions(self, name: str) -> list[tuple[str, str]]:
        """List a registered model's versions as (number, id of our run; "" if it is another's)."""
        with _translated():
            found = self._all(self.client.search_model_versions, f"name='{name}'")
            return [(str(one.version), one.tags.get(TAG + "run", "")) for one in found]

    @staticmethod
    def _all(search: Any, wanted: Any) -> Iterator[Any]:
        """Yield every result of a search, page by page."""
        token = None
        while True:
            page = search(wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def has_version(self, name: str, version: int) -> bool:
        """Return True if a version of a registered model exists."""
        from mlflow.exceptions import MlflowException

        with _translated():
            try:
                self.client.get_model_version(name, str(version))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
            return True

    def has_files(self, name: str, version: int) -> bool:
        """Return True if the files of a model version are where MLflow says; none is read."""
        import mlflow.artifacts

        with _translated():
            source = self.client.get_model_version(name, str(version)).source
            return bool(mlflow.artifacts.list_artifacts(source, tracking_uri=self.url))

    def find_loss(self, name: str, version: int) -> str:
        """Return why a version of a registered model cannot be loaded; empty if its files exist."""
        if not self.has_version(name, version):
            return f"version {version} of the registered model is not in MLflow"
        if self.has_files(name, version):
            return ""
        with _translated():
            source = self.client.get_model_version(name, str(version)).source
        return f"the files of model version {version} are gone from {source}"

    def read_tags(self, name: str, version: int) -> dict[str, str]:
        """Return the tags that ``mark`` set for a version."""
        with _translated():
            tags = self.client.get_model_version(name, str(version)).tags
        return {key.removeprefix(TAG): text for key, text in tags.items() if key.startswith(TAG)}

    def load(self, name: str, version: int) -> LoadedModel:
        """Load a version of a registered model, ready to predict."""
        import mlflow.artifacts
        import mlflow.sklearn

        with _translated():
            source = self.client.get_model_version(name, str(version)).source
            with tempfile.TemporaryDirectory() as folder:
                path = mlflow.artifacts.download_artifacts(
                    artifact_uri=source, dst_path=folder, tracking_uri=self.url
                )
                model = mlflow.sklearn.load_model(path)
                files = {one.name: one.read_bytes() for one in Path(path).glob("*.parquet")}
        return LoadedModel(version, model, self.read_tags(name, version), files)

    def delete_model(self, name: str) -> None:
        """Delete a registered model with its versions; a missing one is no error."""
        from mlflow.exceptions import MlflowException

        with _translated():
            try:
                self.client.delete_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise


def _configure(address: Address) -> None:
    """Set what MLflow reads only from the environment; existing variables are not changed."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
    if address.credentials:
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = (
            address.credentials
        )


def _dataset(item: LoggedInput) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": item.uri})
    dataset = Dataset(name=item.name, digest=item.digest[:32], source_type="local", source=source)
    tags = {"mlflow.data.context": item.role, TAG + "version": item.version}
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])


@contextmanager
def _translated() -> Iterator[None]:
    """Translate MLflow's errors into ours: Unavailable if a retry may help, else PermanentError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        text = str(error).strip().splitlines()[0]
        if error.error_code in (
            "INTERNAL_ERROR",
            "TEMPORARILY_UNAVAILABLE",
            "REQUEST_LIMIT_EXCEEDED",
        ):
            raise Unavailable("MLflow", text) from error
        raise PermanentError(f"MLflow refuses: {text}") from error
    except FileNotFoundError as error:
        raise PermanentError(f"a file of MLflow is gone: {error}") from error
    except OSError as error:
        raise Unavailable("MLflow", str(error)) from error
