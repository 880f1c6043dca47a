"""The wheel in a project that has folders of the same names as this repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.wheel_project import Project
from tests.prefect_server import DATABASE, begin_migrated

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]
"""The recipe of ``docs/ci.md`` is tested with the wheel alone too, but for ``instances up``."""

MANIFEST = {
    "project": "desk",
    "instances": [
        {
            "name": "prices",
            "type": "DatasetInstance",
            "pipeline": {
                "definition": "market_data",
                "config": {"source": "us_stocks", "symbols": ["AAPL"], "start_date": "2022-01-01"},
            },
        }
    ],
}


@pytest.fixture
def project(tmp_path: Path, prefect_template: Path) -> Iterator[Project]:
    """A project with a manifest and a home that nothing was started in."""
    made = Project(tmp_path)
    made.make()
    (made.folder / "desk.yaml").write_text(yaml.safe_dump(MANIFEST))
    begin_migrated(made.home / "prefect" / DATABASE, prefect_template)
    yield made
    made.run("instances", "down")


def test_an_instance_gets_ready_beside_a_flow_of_the_projects_own(project: Project) -> None:
    project.require_wheel_alone()

    project.run("instances", "up", "--detach")
    project.run("instances", "apply", "-f", "desk.yaml", "--wait")
    assert '"status": "READY"' in project.run("instances", "status", "prices", "--json")

    api = project.run("python", "-c", _API, PREFECT_HOME=str(project.home / "client")).strip()
    client = {"PREFECT_API_URL": api, "PREFECT_HOME": str(project.home / "client")}
    project.run_own_flow(**client)


_API = """
from prefect_instances import load_settings
print(load_settings().prefect_api_url)
"""
