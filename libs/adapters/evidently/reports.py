"""One Evidently workspace: an embedded one in the home (no server), or that of a server URL."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.errors import PermanentError, Unavailable

_log = logging.getLogger("instances.evidently")

SAMPLE_ROWS = 5000
"""Maximum rows of a window in a report; more only take longer (8 s for 50,000 x 20)."""
SEED = 7
PSI_THRESHOLD = 0.2
"""Population stability index at which a column counts as drifted (Siddiqi, 2006)."""


@dataclass(frozen=True, slots=True)
class DriftWindows:
    """Two windows as pandas frames with columns ``features``, ``prediction`` and ``realised``."""

    reference: Any
    current: Any
    features: Sequence[str]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The numbers of a report and the drift of each feature.

    ``id`` is empty if it was not saved; ``html`` is its page as a file in the home, None if there
    is none.
    """

    drift_share: float
    drift: Mapping[str, float]
    quality: Mapping[str, float]
    id: str = ""
    html: Path | None = None


class Monitoring:
    """The operations on one workspace; an empty ``url`` means the one in ``folder``.

    ``secret`` is the secret that a server may require for writing.
    """

    def __init__(self, folder: Path, url: str = "", secret: str = "") -> None:
        self.folder = folder
        self._address = Address.parse(url) if url else None
        self._secret = secret

    @cached_property
    def _workspace(self) -> Any:
        os.environ.setdefault("DO_NOT_TRACK", "1")
        with _translated():
            if self._address is not None:
                from prefect_instances.libs.adapters.evidently.server import ServerWorkspace

                return ServerWorkspace(self._address, self._secret)
            from evidently.ui.workspace import Workspace

            place = find_workspace_folder(self.folder)
            place.mkdir(parents=True, exist_ok=True)
            return Workspace.create(str(place))

    def check(self) -> str:
        """Describe the workspace or the server that answers.

        Raises Unavailable if there is no answer, PermanentError if the server is not Evidently.
        """
        if self._address is None:
            return f"embedded, in {self.folder}"
        # Evidently itself takes seconds to import; its version needs one request.
        from prefect_instances.libs.adapters.evidently.http import read_version

        with _translated():
            return f"{read_version(self._address)} at {self._address.url}"

    def ensure_project(self, name: str) -> str:
        """Return the id of the project of that name; create it if a search finds none."""
        with _translated():
            return self.find_project(name) or str(self._workspace.create_project(name).id)

    def find_project(self, name: str) -> str | None:
        """Return the id of the project of that name, or None."""
        with _translated():
            found = self._workspace.search_project(name)
            return str(found[0].id) if found else None

    def has_project(self, project_id: str) -> bool:
        """Return True if the project exists."""
        with _translated():
            return project_id in {str(project.id) for project in self._workspace.list_projects()}

    def delete_project(self, project_id: str) -> None:
        """Delete a project with its reports; do nothing if it does not exist."""
        with _translated():
            if self.has_project(project_id):
                self._workspace.delete_project(UUID(project_id))
        if self._address is None:
            shutil.rmtree(find_workspace_folder(self.folder) / project_id, ignore_errors=True)
            shutil.rmtree(self._pages(project_id), ignore_errors=True)

    def list_reports(self, project_id: str) -> list[str]:
        """Return the ids of a project's reports."""
        with _translated():
            return [str(id_) for id_ in self._workspace.list_runs(UUID(project_id))]

    def report(
        self, project_id: str, name: str, comparison: DriftWindows, *, save: bool
    ) -> DriftReport:
        """Compute the drift between two windows of data; with ``save``, store it in the project.

        ``name`` is the name of the stored report. In the embedded workspace it is also written as a
        page that opens without a server. Raises PermanentError if Evidently cannot compare the
        windows.
        """
        try:
            _write_arrays_as_lists()
            snapshot = _snapshot(comparison)
        except Exception as error:  # it raises what its parts do
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PermanentError(f"Evidently cannot compare the windows: {said}") from error
        with _translated():
            report = DriftReport(*_numbers(snapshot))
            if not save:
                return report
            made = self._workspace.add_run(UUID(project_id), snapshot, name=name)
            return replace(report, id=str(made.id), html=self._page(project_id, name, snapshot))

    def _page(self, project_id: str, name: str, snapshot: Any) -> Path | None:
        if self._address is not None:
            return None
        page = self._pages(project_id) / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        snapshot.save_html(str(page))
        return page

    def find_page(self, project_id: str, name: str) -> Path | None:
        """Return the page in the home that a report was saved as; None if there is none."""
        page = self._pages(project_id) / f"{name}.html"
        return page if page.is_file() else None

    def _pages(self, project_id: str) -> Path:
        return self.folder / "pages" / project_id


def _write_arrays_as_lists() -> None:
    """Have plotly write arrays as lists of numbers in the figures of this process.

    plotly 6 writes them in base64, which the plotly.js 2.26 of Evidently's pages cannot read: its
    figures would be empty. plotly has no setting for it.
    """
    from plotly import basedatatypes  # type: ignore[import-untyped]  # it ships no types

    if hasattr(basedatatypes, "convert_to_base64"):
        basedatatypes.convert_to_base64 = lambda _: None
    else:
        _log.warning("Figures of drift reports may be empty: plotly writes arrays in another way")


def find_workspace_folder(folder: Path) -> Path:
    """Return the path of a folder's workspace, for a server that shows it."""
    return folder / "workspace"


def _snapshot(comparison: DriftWindows) -> Any:
    from evidently import DataDefinition, Dataset, Regression
    from evidently import Report as Evidently
    from evidently.presets import DataDriftPreset, RegressionPreset

    features = list(comparison.features)
    definition = DataDefinition(
        numerical_columns=[*features, "prediction", "realised"],
        regression=[Regression(target="realised", prediction="prediction")],
    )
    drift = DataDriftPreset(columns=features, num_method="psi", num_threshold=PSI_THRESHOLD)
    windows = [
        Dataset.from_pandas(_sampled(frame), data_definition=definition)
        for frame in (comparison.current, comparison.reference)
    ]
    return Evidently([drift, RegressionPreset()]).run(*windows)


def _sampled(frame: Any) -> Any:
    if len(frame) <= SAMPLE_ROWS:
        return frame
    return frame.sample(SAMPLE_ROWS, random_state=SEED).sort_index()


MEANINGLESS = frozenset({"MAPE"})
"""Metrics without meaning for returns: these are near zero, so relative errors are arbitrary."""


def _numbers(snapshot: Any) -> tuple[float, dict[str, float], dict[str, float]]:
    """Extract the numbers from the live snapshot: a stored one lacks them in this form."""
    share, drift, quality = 0.0, {}, {}
    for metric in snapshot.dict()["metrics"]:
        name, value = str(metric["metric_name"]).partition("(")[0], metric["value"]
        config = metric.get("config", {})
        if name == "DriftedColumnsCount":
            share = float(value["share"])
        elif name == "ValueDrift":
            drift[str(config["column"])] = float(value)
        elif name in MEANINGLESS:
            continue
        elif isinstance(value, int | float):
            quality[name] = float(value)
        elif isinstance(value, dict) and "mean" in value:
            quality[name] = float(value["mean"])
    return share, drift, quality


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of the workspace or its server into this project's errors."""
    from requests import RequestException

    try:
        yield
    except (RequestException, OSError) as error:
        raise Unavailable("Evidently", str(error).strip() or type(error).__name__) from error
