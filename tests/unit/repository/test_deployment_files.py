"""The files for CI and containers, by the schemas of those who read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deployments"
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
    for name in (
        "POSTGRES_PASSWORD",
        "PREFECT_AUTH_STRING",
        "CENTRIFUGO_API_KEY",
        "CENTRIFUGO_TOKEN_SECRET",
    ):
        assert f"${{{name}:?" in text


REDIS = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
}
"""What Prefect's guide on scaling names, beside the addresses of Redis."""


def test_compose_publishes_every_port_on_this_machine_only() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    ports = {name: one["ports"] for name, one in services.items() if "ports" in one}

    assert ports == {
        "server": ["127.0.0.1:4200:4200"],
        "mlflow": ["127.0.0.1:5000:5000"],
        "centrifugo": ["127.0.0.1:8000:8000"],
    }
    hosts = [part for part in services["mlflow"]["command"] if "allowed-hosts" in part]
    assert hosts == ["--allowed-hosts=localhost:5000,127.0.0.1:5000,mlflow:5000"]


def test_compose_runs_two_api_servers_and_background_services_apart_over_redis() -> None:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]

    assert services["api"]["deploy"]["replicas"] == 2
    assert "--no-services" in services["api"]["command"]
    module = "prefect_instances.libs.adapters.prefect.server"
    assert services["background"]["command"] == ["python", "-m", module, "services", "start"]
    for name in ("migrate", "api", "background"):
        found = services[name]["environment"]
        assert found.items() >= REDIS.items()
        assert found["PREFECT_REDIS_MESSAGING_HOST"] == "redis"
        assert found["PREFECT_SERVER_DOCKET_URL"] == "redis://redis:6379/1"
        assert found["PREFECT_API_DATABASE_MIGRATE_ON_START"] == "false"
        assert found["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH_STRING:?")
    worker = services["worker"].get("environment", {})
    assert worker["PREFECT_API_AUTH_STRING"].startswith("${PREFECT_AUTH_STRING:?")


def test_helm_sets_all_of_redis_and_takes_every_password_from_a_secret() -> None:
    values = yaml.safe_load((FOLDER / "helm" / "server-values.yaml").read_text())
    given = {one["name"]: one for one in values["global"]["prefect"]["env"]}

    assert {name: given[name]["value"] for name in REDIS} == REDIS
    for name, key in (
        ("PREFECT_REDIS_MESSAGING_URL", "messaging-url"),
        ("PREFECT_SERVER_DOCKET_URL", "docket-url"),
    ):
        assert given[name]["valueFrom"]["secretKeyRef"] == {"name": "prefect-redis", "key": key}
    assert values["server"]["basicAuth"] == {"enabled": True, "existingSecret": "prefect-auth"}
    assert values["server"]["replicaCount"] == 2
    assert values["backgroundServices"]["runAsSeparateDeployment"] is True
    assert values["secret"] == {"create": False, "name": "prefect-database"}


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
