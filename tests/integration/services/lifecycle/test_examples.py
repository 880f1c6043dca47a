"""The manifests of docs/examples.md, applied as they are written."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_sqlalchemy import SqlAlchemyConnector

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.lifecycle.exporting import export
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import SPEC_TYPES, parse_manifest, spec_document, survey_manifest
from prefect_instances.libs.specs.manifests.schema import manifest_schema
from prefect_instances.libs.specs.manifests.text import write_yaml
from tests.databases import on_both_databases
from tests.integration.bench import make_bench

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples.md"


def manifests() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", EXAMPLES.read_text(), re.DOTALL)


def research(path: Path) -> SqlAlchemyConnector:
    """The database of the example with a query."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE earnings (quarter_end, ticker, eps, published_at)")
        row = ("2022-09-30", "KO", 0.65, "2022-10-25T11:00:00+00:00")
        connection.execute("INSERT INTO earnings VALUES (?, ?, ?, ?)", row)
    return SqlAlchemyConnector(connection_info=f"sqlite:///{path}")


def test_there_is_an_example_of_every_type_that_can_be_provisioned() -> None:
    types = [parse_manifest(text).instances[0].type for text in manifests()]

    assert set(types) == set(SPEC_TYPES)


@on_both_databases
def test_every_example_becomes_ready(
    database: Database, gateway: PrefectGateway, tmp_path: Path
) -> None:
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path)
    with temporary_settings({PREFECT_API_URL: gateway.api_url}):
        gateway.save_block(research(tmp_path / "research.db"), "research")
        for text in manifests():
            for spec in parse_manifest(text).instances:
                bench.provision(spec_document(spec))
                bench.drain()

    exported = export(database)
    again = plan(bench.services, survey_manifest(write_yaml(exported)))
    assert again.is_empty
    assert {step.type for step in again.steps} == set(SPEC_TYPES)
    assert not list(Draft202012Validator(manifest_schema()).iter_errors(exported))

    found = reports.status(database, bench.services.now())["instances"]

    assert {entry["status"] for entry in found} == {"READY"}
    for entry in found:
        assert {flow["kind"] for flow in entry["flows"]} == set(SHAPES[entry["type"]].flows)
        assert all(flow["deployment_id"] for flow in entry["flows"])


@pytest.mark.parametrize("text", manifests())
def test_an_example_says_nothing_twice(text: str) -> None:
    specs = parse_manifest(text).instances

    assert parse_manifest({"instances": [spec_document(spec) for spec in specs]}).instances == specs
