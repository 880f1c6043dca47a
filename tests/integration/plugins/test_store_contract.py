"""What every store promises: the same tests over all of them."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.definitions.content import conform, content_hash, schema_hash
from prefect_instances.libs.definitions.store import (
    LocationRefused,
    Store,
    StoredVersion,
    StoreHandle,
    VersionLost,
)
from prefect_instances.libs.plugins import parts, sql_table
from prefect_instances.libs.plugins.delta import DeltaStore
from prefect_instances.libs.plugins.parquet import ParquetStore
from prefect_instances.libs.plugins.sql_table import SqlTableStore
from tests.databases import Postgres
from tests.example.src.example_definitions.stores import ArrowStore

START = date(2024, 1, 1)
NAN = float("nan")
Opened = Callable[..., StoreHandle]

STORES: dict[str, type[Store]] = {
    "delta": DeltaStore,
    "parquet": ParquetStore,
    "sql_table": SqlTableStore,
    "sql_table on PostgreSQL": SqlTableStore,
    "arrow of the example wheel": ArrowStore,
    "delta on S3": DeltaStore,
    "parquet on S3": ParquetStore,
    "delta on Azure": DeltaStore,
    "parquet on Azure": ParquetStore,
}
REMOTE = {"S3": "bucket", "Azure": "container"}


def place_of(name: str) -> str | None:
    """The fixture with the place of a store that is not in a directory."""
    return REMOTE.get(name.rpartition(" on ")[2])


NAMES = [
    pytest.param(name, marks=pytest.mark.thorough if place_of(name) else ()) for name in STORES
]


def days(*values: float | None, first: int = 0) -> pl.DataFrame:
    """One symbol, one row a day from ``START + first``."""
    dates = [START + timedelta(days=first + i) for i in range(len(values))]
    schema = {"date": pl.Date, "symbol": pl.String, "x": pl.Float64}
    return pl.DataFrame({"date": dates, "symbol": ["A"] * len(values), "x": values}, schema=schema)


@pytest.fixture(scope="module")
def shared_url(postgres: Postgres) -> str:
    """One PostgreSQL database for the datasets of all tests."""
    return postgres.create()


@pytest.fixture(params=NAMES)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Opened:
    """Open one dataset's versions, by default the same one each time, swept without delay."""
    config: dict[str, object] = {}
    if "PostgreSQL" in request.param:
        engine = sa.create_engine(request.getfixturevalue("shared_url"), poolclass=sa.NullPool)
        monkeypatch.setattr(sql_table, "open_engine", lambda _: engine)
        config["block"] = "stand-in"
    place = place_of(request.param)
    remote = request.getfixturevalue(place) if place else None

    def open_(name: str = "store", sweep_after_hours: float = 0) -> StoreHandle:
        definition = STORES[request.param]({**config, "sweep_after_hours": sweep_after_hours})
        return definition.open_at(remote / name if remote else tmp_path / name)

    return open_


@pytest.fixture
def store(opened: Opened) -> StoreHandle:
    return opened()


def rows(store: StoreHandle, version: StoredVersion | str) -> pl.DataFrame:
    location = version if isinstance(version, str) else version.location
    return conform(store.scan(location).collect())


def test_a_version_is_what_was_written(store: StoreHandle) -> None:
    version = store.write(days(1.0, NAN, None), uuid4(), None)
    assert_frame_equal(rows(store, version), days(1.0, NAN, None))
    last = START + timedelta(days=2)
    assert (version.rows, version.min_date, version.max_date) == (3, START, last)
    assert version.schema_hash == schema_hash(days(1.0).schema)


def test_every_type_of_the_contract_comes_back_as_it_was(store: StoreHandle) -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    frame = conform(
        days(1.0, None, NAN).with_columns(
            pl.lit(moment).dt.replace_time_zone("UTC").alias("knowledge_time"),
            pl.lit(moment.replace(tzinfo=None)).alias("naive"),
            pl.lit("é, %(x)s :x").alias("a name; with = signs % and :binds"),
            pl.lit(True).alias("flag"),
            *(pl.lit(7).cast(t).alias(str(t)) for t in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)),
            pl.lit(0.1).cast(pl.Float32).alias("f32"),
            pl.lit(math.inf).alias("inf"),
            pl.lit(-(2**63)).cast(pl.Int64).alias("least"),
            pl.lit(None).cast(pl.String).alias("nothing"),
        )
    )
    version = store.write(frame, uuid4(), None)
    assert_frame_equal(rows(store, version), frame, check_column_order=False)
    assert content_hash(rows(store, version)) == content_hash(frame)


def test_a_reader_may_ask_for_columns_and_rows(store: StoreHandle) -> None:
    frame = days(1.0, 2.0, 3.0).with_columns(y=pl.lit("z"))
    scanned = store.scan(store.write(frame, uuid4(), None).location)
    assert scanned.collect_schema() == frame.schema
    assert sorted(scanned.filter(pl.col("x") > 1).select("y", "x").collect().rows()) == [
        ("z", 2.0),
        ("z", 3.0),
    ]
    assert scanned.select(pl.len()).collect().item() == 3
    assert scanned.head(2).collect().height == 2


def test_a_version_without_rows_keeps_its_columns(store: StoreHandle) -> None:
    empty = store.write(days(), uuid4(), None)
    assert (empty.rows, empty.min_date, empty.max_date) == (0, None, None)
    assert_frame_equal(rows(store, empty), days())
    full = store.write(days(1.0), uuid4(), empty.location)
    assert_frame_equal(rows(store, full), days(1.0))
    assert_frame_equal(rows(store, empty), days())


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(days(1.0, 2.0, 3.0), id="extended"),
        pytest.param(days(9.0, 2.0, 3.0), id="revised"),
        pytest.param(days(1.0), id="shortened"),
        pytest.param(days(1.0, 2.0, first=1), id="moved"),
        pytest.param(days(1.0, 2.0).rename({"x": "y"}), id="renamed"),
        pytest.param(days(1.0, 2.0).cast({"x": pl.Float32}), id="retyped"),
        pytest.param(days(1.0, 2.0).with_columns(y=pl.lit("z")), id="widened"),
        pytest.param(days(1.0, 2.0), id="same"),
        pytest.param(days(), id="emptied"),
    ],
)
def test_a_later_version_holds_its_rows_and_leaves_the_earlier_one(
    store: StoreHandle, second: pl.DataFrame
) -> None:
    first = store.write(days(1.0, 2.0), uuid4(), None)
    version = store.write(second, uuid4(), first.location)
    assert version.location != first.location
    assert_frame_equal(rows(store, version), second)
    assert_frame_equal(rows(store, first), days(1.0, 2.0))


def test_many_appends_stay_readable_and_must_be_later(
    store: StoreHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MANY_PARTS", 3)
    version = store.write(days(0.0), uuid4(), None)
    for day in range(1, 8):
        version = store.append(days(float(day), first=day), uuid4(), version.location)
        assert version.rows == day + 1
    assert_frame_equal(rows(store, version), days(*map(float, range(8))))
    assert (version.min_date, version.max_date) == (START, START + timedelta(days=7))
    if not isinstance(store, parts.PartsHandle):
        return
    with pytest.raises(ValueError, match="begin on"):
        store.append(days(3.0, first=7), uuid4(), version.location)


def test_a_retry_gives_the_version_that_it_made(store: StoreHandle) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    base = store.write(days(1.0), first, None)
    assert store.write(days(1.0), first, None) == base
    appended = store.append(days(2.0, first=1), second, base.location)
    assert store.append(days(2.0, first=1), second, base.location) == appended
    whole = store.write(days(1.0, 2.0, 3.0), third, appended.location)
    assert store.write(days(1.0, 2.0, 3.0), third, appended.location) == whole
    other = store.write(days(7.0), third, appended.location)
    assert_frame_equal(rows(store, other), days(7.0))
    assert_frame_equal(rows(store, whole), days(1.0, 2.0, 3.0))


def test_attempts_of_one_run_that_saw_other_bases_disturb_no_version(store: StoreHandle) -> None:
    token, base = uuid4(), store.write(days(1.0), uuid4(), None)
    alone = store.write(days(1.0, 2.0), token, None)
    based = store.write(days(1.0, 2.0), token, base.location)
    for version in (alone, based):
        assert_frame_equal(rows(store, version), days(1.0, 2.0))


def test_an_unpublished_write_is_in_no_later_version(store: StoreHandle) -> None:
    base = store.write(days(1.0), uuid4(), None)
    abandoned = store.append(days(666.0, first=1), uuid4(), base.location)
    next_ = store.append(days(2.0, first=1), uuid4(), base.location)
    assert_frame_equal(rows(store, next_), days(1.0, 2.0))
    assert_frame_equal(rows(store, abandoned), days(1.0, 666.0))


def test_threads_that_write_at_once_each_get_their_own_rows(opened: Opened) -> None:
    barrier = threading.Barrier(3)
    made: dict[float, StoredVersion] = {}

    def writer(value: float) -> None:
        mine = opened()
        barrier.wait()
        made[value] = mine.write(days(value), uuid4(), None)

    threads = [threading.Thread(target=writer, args=(float(i),)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version.location for version in made.values()}) == 3
    for value, version in made.items():
        assert_frame_equal(rows(opened(), version), days(value))


def test_sweeping_removes_just_what_nothing_kept_needs(store: StoreHandle) -> None:
    first = store.write(days(1.0), uuid4(), None)
    second = store.append(days(2.0, first=1), uuid4(), first.location)
    token = uuid4()
    abandoned = store.write(days(666.0), token, second.location)
    assert store.sweep([second.location]) > 0
    assert_frame_equal(rows(store, second), days(1.0, 2.0))
    with pytest.raises(VersionLost):
        rows(store, abandoned)
    assert store.sweep([second.location]) == 0
    assert_frame_equal(rows(store, store.write(days(666.0), token, None)), days(666.0))
    third = store.append(days(3.0, first=2), uuid4(), second.location)
    assert_frame_equal(rows(store, third), days(1.0, 2.0, 3.0))


def test_a_lost_base_is_no_reason_to_fail(store: StoreHandle) -> None:
    base = store.write(days(1.0), uuid4(), None)
    store.sweep([])
    version = store.write(days(1.0, 2.0), uuid4(), base.location)
    assert_frame_equal(rows(store, version), days(1.0, 2.0))


def test_sweeping_keeps_what_is_young(opened: Opened) -> None:
    store = opened(sweep_after_hours=24)
    base = store.write(days(1.0), uuid4(), None)
    version = store.append(days(2.0, first=1), uuid4(), base.location)
    assert store.sweep([]) == 0
    assert_frame_equal(rows(store, version), days(1.0, 2.0))


def test_two_datasets_do_not_see_each_other(opened: Opened) -> None:
    one, other = opened("one"), opened("other")
    version = one.write(days(1.0), uuid4(), None)
    other.write(days(2.0), uuid4(), None)
    other.sweep([])
    other.purge()
    assert_frame_equal(rows(one, version), days(1.0))
    with pytest.raises((VersionLost, LocationRefused)):
        other.scan(version.location)


def test_a_purged_location_never_shows_what_came_after(store: StoreHandle, tmp_path: Path) -> None:
    old = store.write(days(1.0), uuid4(), None)
    store.purge()
    store.purge()
    assert not (tmp_path / "store").exists()
    with pytest.raises(VersionLost):
        store.scan(old.location)
    store.write(days(2.0), uuid4(), old.location)
    with pytest.raises(VersionLost):
        store.scan(old.location)


def test_nothing_is_swept_or_purged_without_error(store: StoreHandle) -> None:
    assert store.sweep([]) == 0
    store.purge()


@pytest.mark.parametrize("location", ["", "..", "/etc", "../x", "a\0b", "x.v-1", "*"])
def test_what_is_no_location_is_refused(store: StoreHandle, location: str) -> None:
    store.write(days(1.0), uuid4(), None)
    with pytest.raises(LocationRefused):
        store.scan(location)
    with pytest.raises(LocationRefused):
        store.sweep([location])


def test_a_version_that_was_never_made_is_lost(store: StoreHandle) -> None:
    made = store.write(days(1.0), uuid4(), None).location
    other = made.replace(".v0", ".v7") if ".v" in made else f"{uuid4().hex}-{'0' * 16}"
    with pytest.raises(VersionLost):
        store.scan(other)


def test_a_write_that_fails_leaves_everything_as_it_was(
    store: StoreHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.write(days(1.0), uuid4(), None)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def lost_connection(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("connection lost"))

    with monkeypatch.context() as patched:
        patched.setattr("deltalake.write_deltalake", full_disk)
        patched.setattr("os.fsync", full_disk)
        patched.setattr("obstore.put", full_disk)
        patched.setattr(sql_table, "_insert", lost_connection)
        with pytest.raises(Unavailable):
            store.write(days(1.0, 9.0), uuid4(), first.location)
    assert_frame_equal(rows(store, first), days(1.0))
    second = store.write(days(1.0, 2.0), uuid4(), first.location)
    assert_frame_equal(rows(store, second), days(1.0, 2.0))


WRITER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4
import polars as pl
from prefect_instances.libs.plugins.{module} import {name}

store = {name}().open(Path(sys.argv[1]))
base = None
for day in range(10_000):
    when = [date(2024, 1, 1) + timedelta(days=day)]
    row = pl.DataFrame({{"date": when, "symbol": "A", "x": 1.0}})
    version = store.append(row, uuid4(), base) if base else store.write(row, uuid4(), None)
    base = version.location
    print(base, version.rows, flush=True)
"""


@pytest.mark.parametrize("definition", [ParquetStore, SqlTableStore])
@pytest.mark.parametrize("versions", [1, 20])
def test_a_writer_that_is_killed_leaves_every_version_it_made(
    tmp_path: Path, definition: type[Store], versions: int
) -> None:
    script = WRITER.format(module=definition.name, name=definition.__name__)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    made = [process.stdout.readline().split() for _ in range(versions)]
    process.kill()
    process.communicate()
    store = definition({"sweep_after_hours": 0}).open(tmp_path / "store")
    for location, count in made:
        assert_frame_equal(rows(store, location), days(*[1.0] * int(count)))
    last, count = made[-1]
    store.sweep([last])
    version = store.append(days(2.0, first=int(count)), uuid4(), last)
    assert_frame_equal(rows(store, version), days(*[1.0] * int(count), 2.0))
