"""The Evidently adapter over a real embedded workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from libs.adapters.evidently import Comparison, Monitoring
from libs.core.errors import PermanentError

ROWS = 200


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Monitoring:
    return Monitoring(tmp_path_factory.mktemp("evidently"))


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
    compared = Comparison(window(1), window(2, shift=3.0), ("a", "b"))
    report = workspace.report(project, "run", compared, save=True)
    assert report.drift_share == 0.5
    assert report.drift["a"] < 0.2 < report.drift["b"]
    assert report.quality["MAE"] == pytest.approx(0.5, abs=0.01)
    assert workspace.count_reports(project) == 1
    assert "<html" in report.html.read_text()[:2000].lower()


def test_the_same_windows_give_the_same_numbers_and_a_rehearsal_keeps_nothing(
    workspace: Monitoring,
) -> None:
    project = workspace.ensure_project("p/same 2")
    compared = Comparison(window(3), window(4), ("a", "b"))
    one, two = (workspace.report(project, "run", compared, save=False) for _ in range(2))
    assert one == two
    assert one.drift_share == 0.0
    assert workspace.count_reports(project) == 0
    assert not one.html.exists()


def test_windows_that_evidently_cannot_compare_are_told_in_one_line(
    workspace: Monitoring,
) -> None:
    exact = window(1).assign(prediction=0.0, realised=0.0)
    with pytest.raises(PermanentError, match="Evidently cannot compare") as caught:
        workspace.report("project", "run", Comparison(exact, exact, ("a", "b")), save=False)
    assert "\n" not in str(caught.value)


def test_a_project_is_made_once_and_a_purge_leaves_nothing_on_disk(tmp_path: Path) -> None:
    workspace = Monitoring(tmp_path)
    project = workspace.ensure_project("p/gone 3")
    assert workspace.ensure_project("p/gone 3") == project
    compared = Comparison(window(5), window(6), ("a", "b"))
    workspace.report(project, "run", compared, save=True)
    assert workspace.has_project(project)
    workspace.delete_project(project)
    workspace.delete_project(project)
    assert not workspace.has_project(project)
    assert not [path for path in tmp_path.rglob("*") if project in str(path)]
