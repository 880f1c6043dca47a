"""Each kind of compatibility rule refuses one wrong composition, before anything is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import DataRejected, InvalidSpec
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.db import Database, sqlite_url
from prefect_instances.libs.definitions import (
    Accessor,
    CompatibilityRules,
    Extract,
    ExtractContext,
    Input,
    Pipeline,
    Query,
)
from prefect_instances.libs.plugins.parquet import ParquetStore
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import survey_manifest
from tests.integration.bench import Bench, derived, make_bench, prices


class Volumes(ParquetStore):
    """A store that needs a column of its own."""

    name = "volumes"
    input_schema = {"date": "Date", "volume": "Float64"}  # noqa: RUF012 - as users write it


class Counted(Accessor):
    """An accessor that needs a column as whole numbers."""

    name = "counted"
    version = "1.0.0"
    input_schema = {"close": "Int64"}  # noqa: RUF012 - as users write it

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        return frame


class Of(Pipeline):
    """A pipeline that copies one or two datasets with a column ``close``."""

    name = "copy"
    version = "1.0.0"
    compatibility_rules = CompatibilityRules(("DatasetInstance",), 1, 2)
    input_schema = {"close": "Float64"}  # noqa: RUF012 - as users write it

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        return Extract(inputs[0].frame.collect(), complete=True)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    return with_definitions(bench)


def with_definitions(bench: Bench) -> Bench:
    for definition in (Volumes, Counted, Of):
        bench.services.registry.add(definition)
    return bench


@dataclass(frozen=True)
class Parts:
    """A project of what compositions are made of."""

    bench: Bench
    project: str


COPY = {"pipeline": {"definition": "copy"}}

WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "upstream_types": (
        {**COPY, "upstream_refs": [{"resource": "signal"}]},
        {"upstream_refs[0]": "SignalInstance"},
    ),
    "min_upstreams": (COPY, {"upstream_refs": "at least 1"}),
    "max_upstreams": (
        {**COPY, "upstream_refs": [{"resource": name} for name in ("prices", "more", "most")]},
        {"upstream_refs": "at most 2"},
    ),
    "no_upstreams": (
        {"upstream_refs": [{"resource": "prices"}]},
        {"upstream_refs": "no upstreams"},
    ),
    "upstream_columns": (
        {**COPY, "upstream_refs": [{"resource": "other"}]},
        {"upstream_refs[0]": "'close'"},
    ),
    "pipeline_to_store": (
        {"store": {"definition": "volumes"}},
        {"store.definition": "'volume' (Float64)"},
    ),
    "pipeline_to_accessor": (
        {"accessor": {"definition": "point_in_time"}},
        {"accessor.definition": "'knowledge_time'"},
    ),
    "computed_pipeline_to_accessor": (
        {
            "pipeline": {"definition": "expression", "config": {"expression": "close"}},
            "upstream_refs": [{"resource": "prices"}],
            "accessor": {"definition": "point_in_time"},
        },
        {"accessor.definition": "'knowledge_time'"},
    ),
    "column_type": (
        {"accessor": {"definition": "counted"}},
        {"accessor.definition": "as Int64, not Float64"},
    ),
    "shared_accessor": (
        {"accessor": {"instance": "vintages.accessor"}},
        {"accessor.instance": "'knowledge_time'"},
    ),
    "all_at_once": (
        {
            "store": {"definition": "volumes"},
            "accessor": {"definition": "point_in_time"},
            "upstream_refs": [{"resource": "nothing"}],
        },
        {
            "store.definition": "'volume'",
            "accessor.definition": "'knowledge_time'",
            "upstream_refs": "takes no upstreams, has 1",
            "upstream_refs[0].resource": "nothing",
        },
    ),
}


def vintages(project: str, path: Path, **columns: list[Any]) -> dict[str, Any]:
    """A dataset of a file, whose columns are known only when it is read."""
    rows = {"date": [date(2024, 1, 2)], "symbol": ["AAPL"], "close": [1.0], **columns}
    pl.DataFrame(rows).write_parquet(path)
    return {
        "name": "vintages",
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "file", "config": {"path": str(path)}},
        "accessor": {"definition": "point_in_time"},
    }


@pytest.fixture(scope="module")
def parts(
    migrated_sqlite: Path, gateway: PrefectGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    """One for all that is refused, since that changes nothing."""
    home, project = tmp_path_factory.mktemp("home"), f"p{uuid4().hex[:8]}"
    database = Database(sqlite_url(Path(shutil.copy(migrated_sqlite, home / "instances.db"))))
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = with_definitions(make_bench(database, gateway, home))
    bench.provision(prices(project))
    bench.provision({**prices(project, "signal"), "type": "SignalInstance"})
    bench.provision(vintages(project, home / "v.parquet"))
    bench.provision(prices(project, "more"))
    bench.provision(prices(project, "most"))
    bench.drain(only="prices")
    bench.provision(derived(project, "other", "close * 2", "prices"))
    bench.drain(only="other")
    yield Parts(bench, project)
    database.close()


@pytest.mark.parametrize(("change", "problems"), WRONG.values(), ids=WRONG)
def test_a_wrong_composition_is_refused_with_its_path_and_changes_nothing(
    parts: Parts, change: dict[str, Any], problems: dict[str, str]
) -> None:
    bench, project = parts.bench, parts.project
    before = bench.rows()
    document = {**prices(project, "wrong"), **change}

    with pytest.raises(InvalidSpec) as caught:
        bench.provision(document)
    with pytest.raises(InvalidSpec) as planned:
        plan(bench.services, survey_manifest({"project": project, "instances": [document]}))

    for error, prefix in ((caught.value, ""), (planned.value, "instances[0].")):
        found = {problem.path: problem.message for problem in error.problems}
        assert found.keys() == {prefix + path for path in problems}
        assert all(text in found[prefix + path] for path, text in problems.items())
    assert bench.rows() == before


def test_what_only_a_run_can_tell_fails_it_before_anything_is_published(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    bench.provision(vintages(project, tmp_path / "v.parquet"))

    with pytest.raises(DataRejected) as caught:
        bench.drain()

    assert str(caught.value) == (
        "accessor 'point_in_time' needs a column 'knowledge_time' (Datetime): "
        "what the pipeline delivers has date, symbol, close"
    )
    shown = reports.show(bench.services.database, bench.services.now(), f"{project}/vintages")
    assert shown["output"] is None or shown["output"]["version"] is None


def test_an_input_with_another_type_fails_the_run_with_one_line(
    bench: Bench, project: str, tmp_path: Path
) -> None:
    document = vintages(project, tmp_path / "v.parquet", close=["dear"])
    bench.provision({**document, "accessor": {"definition": "simple"}})
    bench.provision({**derived(project, "copied", "", "vintages"), **COPY})

    with pytest.raises(DataRejected) as caught:
        bench.drain()

    assert "pipeline 'copy' needs column 'close' as Float64, not String" in str(caught.value)
