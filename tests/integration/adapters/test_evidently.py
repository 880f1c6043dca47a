"""The Evidently adapter over a real embedded workspace, and over a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefect_instances.libs.adapters.evidently import DriftWindows, EvidentlyPages, Monitoring
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from tests.model_servers import SECRET, GuardedServer, ModelServer, texts_of
from tests.prefect_server import free_port

ROWS = 200


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Monitoring:
    return Monitoring(tmp_path_factory.mktemp("evidently"))


@pytest.fixture(scope="module")
def served(evidently_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Monitoring:
    return Monitoring(tmp_path_factory.mktemp("evidently-client"), evidently_server.url, SECRET)


@pytest.fixture(params=["embedded", "served"])
def workspace(request: pytest.FixtureRequest) -> Monitoring:
    """Whatever keeps the reports, what is promised of it is the same."""
    monitoring: Monitoring = request.getfixturevalue(request.param)
    return monitoring


def window(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Two features, of which ``b`` moves by ``shift``; predictions are about 0.5 too high."""
    random = np.random.default_rng(seed)
    realised = random.normal(size=ROWS)
    return pd.DataFrame(
        {
            "a": random.normal(size=ROWS),
            "b": random.normal(size=ROWS) + shift,
            "realised": realised,
            "prediction": realised + 0.5 + random.normal(size=ROWS) / 100,
        }
    )


def test_a_feature_that_moved_has_drifted_and_the_other_has_not(workspace: Monitoring) -> None:
    project = workspace.ensure_project("p/m 1")
    compared = DriftWindows(window(1), window(2, shift=3.0), ("a", "b"))
    report = workspace.report(project, "run", compared, save=True)
    assert report.drift_share == 0.5
    assert report.drift["a"] < 0.2 < report.drift["b"]
    assert report.quality["MAE"] == pytest.approx(0.5, abs=0.01)
    assert workspace.list_reports(project) == [report.id]
    if report.html is not None:
        page = report.html.read_text()
        assert "<html" in page[:2000].lower()
        assert '"type": "histogram"' in page
        assert "bdata" not in page, "plotly.js 2.26 of the page reads no arrays in base64"
    files = {path for path in workspace.folder.rglob("*") if path.is_file()}
    assert bool(files) == (report.html is not None), "what a server keeps is not kept here too"


def test_the_same_windows_give_the_same_numbers_and_a_rehearsal_keeps_nothing(
    workspace: Monitoring,
) -> None:
    project = workspace.ensure_project("p/same 2")
    compared = DriftWindows(window(3), window(4), ("a", "b"))
    one, two = (workspace.report(project, "run", compared, save=False) for _ in range(2))
    assert one == two
    assert one.drift_share == 0.0
    assert workspace.list_reports(project) == []
    assert (one.id, one.html) == ("", None)


def test_windows_that_evidently_cannot_compare_are_told_in_one_line(
    workspace: Monitoring,
) -> None:
    exact = window(1).assign(prediction=0.0, realised=0.0)
    with pytest.raises(PermanentError, match="Evidently cannot compare") as caught:
        workspace.report("project", "run", DriftWindows(exact, exact, ("a", "b")), save=False)
    assert "\n" not in str(caught.value)


def test_a_project_is_made_once_and_a_purge_leaves_nothing(workspace: Monitoring) -> None:
    project = workspace.ensure_project("p/gone 3")
    assert workspace.ensure_project("p/gone 3") == project
    compared = DriftWindows(window(5), window(6), ("a", "b"))
    workspace.report(project, "run", compared, save=True)
    assert workspace.has_project(project)
    for _ in range(2):  # Again after a crash, or by somebody who was quicker.
        workspace.delete_project(project)
    assert not workspace.has_project(project)
    assert workspace.find_project("p/gone 3") is None


def test_a_purge_leaves_nothing_on_disk(
    embedded: Monitoring, served: Monitoring, evidently_server: ModelServer
) -> None:
    for monitoring, folder in ((embedded, embedded.folder), (served, evidently_server.folder)):
        before = set(folder.rglob("*"))
        project = monitoring.ensure_project("p/gone 4")
        monitoring.report(project, "run", DriftWindows(window(5), window(6), ("a", "b")), save=True)
        assert [path for path in folder.rglob("*") if project in str(path)]
        monitoring.delete_project(project)
        left = set(folder.rglob("*")) - before
        # The folders of all projects stay.
        assert {path for path in left if path.name not in ("pages", "workspace")} == set()


def test_a_check_says_what_answers(embedded: Monitoring, served: Monitoring) -> None:
    assert embedded.check() == f"embedded, in {embedded.folder}"
    assert served.check().startswith("Evidently UI ")


def test_a_wrong_secret_is_told_in_one_line_when_a_project_is_made(
    evidently_server: ModelServer, tmp_path: Path
) -> None:
    stranger = Monitoring(tmp_path, evidently_server.url, "wrong")
    with pytest.raises(PermanentError, match="Evidently refuses") as caught:
        stranger.ensure_project("p/refused 5")
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_what_is_no_evidently_server_is_told(guarded_server: GuardedServer, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no Evidently server answers"):
        Monitoring(tmp_path, guarded_server.address()).check()


def test_a_password_in_the_address_reaches_the_server_and_no_text(
    guarded_server: GuardedServer, tmp_path: Path
) -> None:
    with pytest.raises(PermanentError) as refused:
        Monitoring(tmp_path, guarded_server.address("ann", "pl4nted")).check()
    assert guarded_server.seen == {("ann", "pl4nted")}
    away = Monitoring(tmp_path, f"http://ann:pl4nted@127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable) as unreached:
        away.has_project("00000000-0000-0000-0000-000000000000")
    for caught in (refused, unreached):
        assert "pl4nted" not in texts_of(caught.value)


def test_links_lead_to_pages_where_some_are_served() -> None:
    pages = EvidentlyPages("http://evidently:8000")
    assert pages.project("1") == "http://evidently:8000/projects/1"
    assert pages.report("1", "2") == "http://evidently:8000/projects/1/reports/2"
    assert EvidentlyPages("").report("1", "2") == ""
