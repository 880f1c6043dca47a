"""The files for CI and containers, by the schemas of those who read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deployments"
FILES = [("github-workflows", "github/instances.yml"), ("compose-spec", "compose.yaml")]


@pytest.mark.parametrize(("schema", "file"), FILES)
def test_a_file_satisfies_the_schema_of_its_reader(schema: str, file: str) -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(FOLDER / file)]
    checked = subprocess.run([sys.executable, *command], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_compose_starts_everything_and_holds_no_password() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]

    assert set(services) >= {"postgres", "redis", "server", "worker", "mlflow", "centrifugo"}
    for name in ("POSTGRES_PASSWORD", "CENTRIFUGO_API_KEY", "CENTRIFUGO_TOKEN_SECRET"):
        assert f"${{{name}:?" in text


def test_main_is_applied_and_a_pull_request_only_planned() -> None:
    jobs = yaml.safe_load((FOLDER / "github" / "instances.yml").read_text())["jobs"]
    commands = {
        name: " ".join(str(step.get("run", "")) for step in job["steps"])
        for name, job in jobs.items()
    }

    assert "apply -f manifests --plan" in commands["plan"]
    assert "deploy --all" not in commands["plan"]
    assert "prefect --no-prompt deploy --all" in commands["apply"]
    assert "--plan" not in commands["apply"]
