"""Stores, accessors and the sql pipeline as parts of provisioned instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest
import sqlalchemy as sa
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import DataRejected, InvalidSpec
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.db.models import Base
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.views import reports
from tests.databases import Postgres, on_both_databases
from tests.integration.bench import NEXT_DAY, Bench, derived, prices

PASSWORD = "correct horse battery"


@pytest.fixture
def block(gateway: PrefectGateway, postgres: Postgres) -> Iterator[tuple[str, sa.Engine]]:
    """A block with the credentials of a PostgreSQL database, and that database itself."""
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector

    url = sa.make_url(postgres.create())
    components = ConnectionComponents(
        driver="postgresql+psycopg",
        database=str(url.database),
        username=url.username,
        password=SecretStr(PASSWORD),
        host=url.host,
        query={key: str(value) for key, value in url.query.items()},
    )
    name = f"b{uuid4().hex[:8]}"
    with temporary_settings({PREFECT_API_URL: gateway.api_url}):
        gateway.save_block(SqlAlchemyConnector(connection_info=components), name)
        yield f"sqlalchemy-connector/{name}", sa.create_engine(url, poolclass=sa.NullPool)


def output(bench: Bench, name: str) -> pl.DataFrame:
    document = reports.show(bench.services.database, bench.services.now(), name)
    version = UUID(document["output"]["version"])
    return read_version(bench.services, version).sort("date", "symbol").collect()


def test_a_query_is_kept_in_tables_and_no_password_is_kept_anywhere(
    bench: Bench, project: str, block: tuple[str, sa.Engine]
) -> None:
    name, engine = block
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE quotes (day DATE, code TEXT, px NUMERIC)")
        connection.exec_driver_sql("INSERT INTO quotes VALUES ('2024-01-02', 'A', 1.5)")
    query = "SELECT day AS date, code AS symbol, px AS close FROM quotes WHERE day >= :since"
    document = {
        "name": "quotes",
        "project": project,
        "type": "DatasetInstance",
        "pipeline": {"definition": "sql", "config": {"query": query, "block": name}},
        "store": {"definition": "sql_table", "config": {"block": name}},
    }
    bench.provision(document)
    bench.provision(derived(project, "twice", "close * 2", "quotes"))
    assert bench.drain() == ["quotes", "twice"]
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO quotes VALUES ('2024-01-03', 'A', 2.5)")
    bench.run("quotes")
    assert bench.drain() == ["twice"]

    assert output(bench, "twice")["value"].to_list() == [3.0, 5.0]
    tables = sa.inspect(engine).get_table_names()
    assert len([table for table in tables if table.startswith("instances_")]) == 2
    with bench.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            assert PASSWORD not in str(session.execute(sa.select(table)).all()), table.name
    pipeline = {"definition": "sql", "config": {"query": query, "block": "no-such-block"}}
    with pytest.raises(InvalidSpec, match="no-such-block"):
        bench.provision({**document, "name": "other", "pipeline": pipeline})

    deprovision(bench.services, "quotes", cascade=True, purge=True)
    left = [name for name in sa.inspect(engine).get_table_names() if "instances_" in name]
    assert left == ["instances_versions"]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM instances_versions").scalar() == 0


def with_parts(document: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**document, **parts}


@on_both_databases
def test_a_snapshot_stays_and_latest_moves(bench: Bench, project: str) -> None:
    snapshot = {"definition": "snapshot", "config": {"at": 1}}
    parquet = {"definition": "parquet"}
    bench.provision(with_parts(prices(project), store=parquet, accessor=snapshot))
    newest = prices(project, "newest")
    bench.provision(with_parts(newest, store=parquet, accessor={"definition": "latest"}))
    bench.drain()
    frozen, before = output(bench, "prices"), output(bench, "newest")

    for name in ("prices", "newest"):
        bench.run(name, as_of=NEXT_DAY)

    assert output(bench, "prices").equals(frozen)
    after = output(bench, "newest")
    assert before.height == after.height == 3
    assert before["date"].unique().to_list() < after["date"].unique().to_list()
    assert after["date"].unique().to_list() == [NEXT_DAY]


@on_both_databases
def test_before_its_version_there_is_nothing_in_a_snapshot(bench: Bench, project: str) -> None:
    later = {"definition": "snapshot", "config": {"at": 2}}
    bench.provision(with_parts(prices(project), accessor=later))
    bench.drain()
    with pytest.raises(DataRejected, match="no version 2 yet"):
        output(bench, "prices")

    bench.run("prices", mode=Mode.FULL, force=True)

    assert output(bench, "prices").height > 0
