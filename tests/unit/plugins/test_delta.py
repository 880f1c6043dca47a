"""The Delta Lake store: atomic, immutable, and deaf to writers that were given up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

import prefect_instances.libs.plugins.delta as delta
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.definitions.content import conform, content_hash, schema_hash
from prefect_instances.libs.definitions.store import LocationRefused, StoredVersion, VersionLost
from prefect_instances.libs.plugins.delta import DeltaHandle, DeltaStore

START = date(2024, 1, 1)
NAN = float("nan")


def days(*values: float | None, first: int = 0) -> pl.DataFrame:
    """One symbol, one row a day from ``START + first``."""
    dates = [START + timedelta(days=first + i) for i in range(len(values))]
    schema = {"date": pl.Date, "symbol": pl.String, "x": pl.Float64}
    return pl.DataFrame({"date": dates, "symbol": ["A"] * len(values), "x": values}, schema=schema)


@pytest.fixture
def store(tmp_path: Path) -> DeltaHandle:
    return DeltaStore({"sweep_after_hours": 0}).open(tmp_path / "store")


def rows(store: DeltaHandle, version: StoredVersion | str) -> pl.DataFrame:
    location = version if isinstance(version, str) else version.location
    return conform(store.scan(location).collect())


def data_files(store: DeltaHandle) -> int:
    return len(list(store._root.glob("*.parquet")))


def test_a_version_is_what_was_written(store: DeltaHandle) -> None:
    version = store.write(days(1.0, NAN, None), uuid4(), None)
    assert_frame_equal(rows(store, version), days(1.0, NAN, None))
    assert (version.rows, version.min_date, version.max_date) == (
        3,
        START,
        START + timedelta(days=2),
    )
    assert version.schema_hash == schema_hash(days(1.0).schema)


def test_every_type_of_the_contract_comes_back_as_it_was(store: DeltaHandle) -> None:
    moment = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    frame = conform(
        days(1.0).with_columns(
            pl.lit(moment).dt.replace_time_zone("UTC").alias("knowledge_time"),
            pl.lit(moment.replace(tzinfo=None)).alias("naive"),
            pl.lit("é, \0").alias("a name; with = signs"),
            pl.lit(True).alias("flag"),
            *(pl.lit(7).cast(t).alias(str(t)) for t in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)),
            pl.lit(0.1).cast(pl.Float32).alias("f32"),
            pl.lit(float("inf")).alias("inf"),
            pl.lit(None).cast(pl.String).alias("nothing"),
        )
    )
    version = store.write(frame, uuid4(), None)
    assert_frame_equal(rows(store, version), frame, check_column_order=False)
    assert content_hash(rows(store, version)) == content_hash(frame)


def test_a_version_without_rows_keeps_its_columns(store: DeltaHandle) -> None:
    empty = store.write(days(), uuid4(), None)
    assert (empty.rows, empty.min_date, empty.max_date) == (0, None, None)
    assert_frame_equal(rows(store, empty), days())
    full = store.write(days(1.0), uuid4(), empty.location)
    assert_frame_equal(rows(store, full), days(1.0))
    assert_frame_equal(rows(store, empty), days())


def test_later_dates_are_appended_without_writing_the_rest_again(store: DeltaHandle) -> None:
    first = store.write(days(1.0, NAN, None), uuid4(), None)
    second = store.write(days(1.0, NAN, None, 4.0), uuid4(), first.location)
    assert_frame_equal(rows(store, second), days(1.0, NAN, None, 4.0))
    third = store.append(days(5.0, first=4), uuid4(), second.location)
    assert_frame_equal(rows(store, third), days(1.0, NAN, None, 4.0, 5.0))
    assert (third.rows, third.min_date, third.max_date) == (5, START, START + timedelta(days=4))
    assert data_files(store) == 3
    assert pl.read_parquet(newest_file(store)).height == 1
    assert_frame_equal(rows(store, first), days(1.0, NAN, None))


def newest_file(store: DeltaHandle) -> Path:
    return max(store._root.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize(
    "second",
    [
        days(9.0, 2.0, 3.0),
        days(1.0),
        days(1.0, 2.0, first=1),
        days(1.0, 2.0).rename({"x": "y"}),
        days(1.0, 2.0).cast({"x": pl.Float32}),
        days(1.0, 2.0).with_columns(y=pl.lit("z")),
    ],
    ids=["revised", "shortened", "moved", "renamed", "retyped", "widened"],
)
def test_what_does_more_than_extend_is_written_anew(
    store: DeltaHandle, second: pl.DataFrame
) -> None:
    first = store.write(days(1.0, 2.0), uuid4(), None)
    version = store.write(second, uuid4(), first.location)
    assert_frame_equal(rows(store, version), second)
    assert_frame_equal(rows(store, first), days(1.0, 2.0))


def test_the_same_rows_again_are_a_version_of_their_own(store: DeltaHandle) -> None:
    first = store.write(days(1.0), uuid4(), None)
    second = store.write(days(1.0), uuid4(), first.location)
    assert first.location != second.location
    assert_frame_equal(rows(store, second), days(1.0))
    assert data_files(store) == 1


def test_rows_to_append_must_be_later(store: DeltaHandle) -> None:
    first = store.write(days(1.0, 2.0), uuid4(), None)
    with pytest.raises(ValueError, match="begin on"):
        store.append(days(3.0, first=1), uuid4(), first.location)


def test_many_small_files_are_gathered(store: DeltaHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "MANY_FILES", 3)
    version = store.write(days(0.0), uuid4(), None)
    for day in range(1, 8):
        version = store.append(days(float(day), first=day), uuid4(), version.location)
        assert len(DeltaTable(store._root).file_uris()) <= 3
    assert_frame_equal(rows(store, version), days(*map(float, range(8))))


def test_a_retried_write_gives_the_version_that_it_made(store: DeltaHandle) -> None:
    token = uuid4()
    first = store.write(days(1.0), token, None)
    assert store.write(days(1.0), token, None) == first
    assert DeltaTable(store._root).version() == 0


def test_a_retried_append_gives_the_version_that_it_made(store: DeltaHandle) -> None:
    base = store.write(days(1.0), uuid4(), None)
    token = uuid4()
    first = store.append(days(2.0, first=1), token, base.location)
    assert store.append(days(2.0, first=1), token, base.location) == first


def test_a_retry_that_read_something_else_gets_what_it_read(store: DeltaHandle) -> None:
    token = uuid4()
    first = store.write(days(1.0), token, None)
    second = store.write(days(2.0), token, None)
    assert_frame_equal(rows(store, first), days(1.0))
    assert_frame_equal(rows(store, second), days(2.0))
    assert store.write(days(2.0), token, None) == second


def test_an_unpublished_write_is_in_no_later_version(store: DeltaHandle) -> None:
    base = store.write(days(1.0), uuid4(), None)
    abandoned = store.append(days(666.0, first=1), uuid4(), base.location)
    next_ = store.append(days(2.0, first=1), uuid4(), base.location)
    assert_frame_equal(rows(store, next_), days(1.0, 2.0))
    assert_frame_equal(rows(store, abandoned), days(1.0, 666.0))


Meddler = Callable[[], object]


def meddle_before_commits(monkeypatch: pytest.MonkeyPatch, meddlers: list[Meddler]) -> None:
    """Each of ``meddlers`` runs once, between the reading of the table and a commit."""
    put = DeltaHandle._put

    def after_meddling(self: DeltaHandle, *arguments: object) -> object:
        if meddlers:
            meddlers.pop(0)()
        return put(self, *arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(DeltaHandle, "_put", after_meddling)


@pytest.mark.parametrize("fast", [True, False], ids=["append", "overwrite"])
def test_a_zombie_that_commits_in_between_leaves_no_row_behind(
    store: DeltaHandle, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    base = store.write(days(1.0), uuid4(), None)
    zombies: list[StoredVersion] = []

    def zombie() -> None:
        zombies.append(store.append(days(666.0, first=1), uuid4(), base.location))

    def overwriting_zombie() -> None:
        zombies.append(store.write(days(667.0), uuid4(), base.location))

    # A zombie's own commit meddles too, so the list shrinks as they nest: last one first.
    meddle_before_commits(monkeypatch, [zombie, overwriting_zombie])
    if fast:
        version = store.append(days(2.0, first=1), uuid4(), base.location)
    else:
        version = store.write(days(5.0, 2.0), uuid4(), base.location)
    expected = days(1.0, 2.0) if fast else days(5.0, 2.0)
    assert_frame_equal(rows(store, version), expected)
    assert len(zombies) == 2
    assert {rows(store, z).get_column("x").to_list()[-1] for z in zombies} == {666.0, 667.0}
    assert_frame_equal(rows(store, base), days(1.0))


def test_the_first_write_is_not_spoilt_by_another_first_write(
    store: DeltaHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: list[StoredVersion] = []
    meddlers: list[Meddler] = [lambda: other.append(store.write(days(9.0, 9.0), uuid4(), None))]
    meddle_before_commits(monkeypatch, meddlers)
    version = store.write(days(1.0), uuid4(), None)
    assert_frame_equal(rows(store, version), days(1.0))
    assert_frame_equal(rows(store, other[0]), days(9.0, 9.0))


def test_a_twin_with_the_same_token_makes_the_same_version(
    store: DeltaHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = uuid4()
    base = store.write(days(1.0), uuid4(), None)
    twin: list[StoredVersion] = []
    again: Meddler = lambda: twin.append(store.write(days(1.0, 2.0), token, base.location))  # noqa: E731
    meddle_before_commits(monkeypatch, [again])
    assert store.write(days(1.0, 2.0), token, base.location) == twin[0]


def test_writers_that_are_always_overtaken_give_up(
    store: DeltaHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeltaHandle, "_commit", lambda *_: None)
    with pytest.raises(Unavailable):
        store.write(days(1.0), uuid4(), None)


def test_threads_that_write_at_once_each_get_their_own_rows(store: DeltaHandle) -> None:
    base = store.write(days(0.0), uuid4(), None)
    barrier = threading.Barrier(4)
    made: dict[float, StoredVersion] = {}

    def writer(value: float) -> None:
        barrier.wait()
        made[value] = store.append(days(value, first=1), uuid4(), base.location)

    threads = [threading.Thread(target=writer, args=(float(i),)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version.location for version in made.values()}) == 4
    for value, version in made.items():
        assert_frame_equal(rows(store, version), days(0.0, value))


def test_a_restore_by_other_hands_changes_no_version(store: DeltaHandle) -> None:
    first = store.write(days(1.0), uuid4(), None)
    second = store.append(days(2.0, first=1), uuid4(), first.location)
    DeltaTable(store._root).restore(0)
    third = store.append(days(3.0, first=2), uuid4(), second.location)
    assert_frame_equal(rows(store, first), days(1.0))
    assert_frame_equal(rows(store, second), days(1.0, 2.0))
    assert_frame_equal(rows(store, third), days(1.0, 2.0, 3.0))


def test_a_write_that_fails_leaves_everything_as_it_was(
    store: DeltaHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.write(days(1.0), uuid4(), None)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("deltalake.write_deltalake", full_disk)
        with pytest.raises(Unavailable):
            store.write(days(9.0), uuid4(), first.location)
    assert_frame_equal(rows(store, first), days(1.0))
    assert DeltaTable(store._root).version() == 0


def test_versions_outlive_every_clean_up_of_delta(store: DeltaHandle) -> None:
    version = first = store.write(days(0.0), uuid4(), None)
    for day in range(1, 45):
        version = store.append(days(float(day), first=day), uuid4(), version.location)
    log = store._root / "_delta_log"
    assert list(log.glob("*.checkpoint.parquet")), "no checkpoint was made: nothing is tested"
    for path in log.iterdir():
        os.utime(path, (0, 0))
    table = DeltaTable(store._root)
    table.cleanup_metadata()
    table.vacuum(dry_run=False)
    assert_frame_equal(rows(store, first), days(0.0))
    assert_frame_equal(rows(store, version), days(*map(float, range(45))))


def test_sweeping_removes_just_what_nothing_kept_needs(store: DeltaHandle) -> None:
    first = store.write(days(1.0), uuid4(), None)
    second = store.append(days(2.0, first=1), uuid4(), first.location)
    abandoned = store.write(days(666.0), uuid4(), second.location)
    stray = store._root / "part-of-a-dead-writer.parquet"
    stray.write_bytes(b"half")
    unfinished = store._root / "_delta_log" / "_commit_dead.json.tmp"
    unfinished.write_bytes(b"{")
    assert store.sweep([second.location]) == 3
    assert not stray.exists()
    assert not unfinished.exists()
    assert_frame_equal(rows(store, second), days(1.0, 2.0))
    with pytest.raises(VersionLost):
        store.scan(abandoned.location)
    assert store.sweep([second.location]) == 0
    third = store.append(days(3.0, first=2), uuid4(), second.location)
    assert_frame_equal(rows(store, third), days(1.0, 2.0, 3.0))


def test_sweeping_removes_what_lies_between_two_versions_that_are_kept(
    store: DeltaHandle,
) -> None:
    first = store.write(days(1.0), uuid4(), None)
    abandoned = store.write(days(666.0), uuid4(), first.location)
    third = store.write(days(3.0), uuid4(), first.location)
    assert store.sweep([first.location, third.location]) == 1
    assert_frame_equal(rows(store, first), days(1.0))
    assert_frame_equal(rows(store, third), days(3.0))
    with pytest.raises(VersionLost):
        store.scan(abandoned.location)


def test_a_swept_version_is_made_again_by_a_late_retry(store: DeltaHandle) -> None:
    token = uuid4()
    store.write(days(1.0), token, None)
    store.sweep([])
    again = store.write(days(1.0), token, None)
    assert_frame_equal(rows(store, again), days(1.0))


def test_a_lost_base_is_no_reason_to_fail(store: DeltaHandle) -> None:
    base = store.write(days(1.0), uuid4(), None)
    store.sweep([])
    version = store.write(days(1.0, 2.0), uuid4(), base.location)
    assert_frame_equal(rows(store, version), days(1.0, 2.0))


def test_sweeping_keeps_what_is_young(tmp_path: Path) -> None:
    store = DeltaStore().open(tmp_path)
    version = store.write(days(1.0), uuid4(), None)
    assert store.sweep([]) == 0
    assert_frame_equal(rows(store, version), days(1.0))


def test_sweeping_a_log_with_a_gap_removes_nothing(store: DeltaHandle) -> None:
    version = store.write(days(1.0), uuid4(), None)
    store.write(days(2.0), uuid4(), version.location)
    (store._root / "_delta_log" / f"{5:020}.json").write_text("{}")
    files = data_files(store)
    with pytest.raises(Unavailable):
        store.sweep([version.location])
    assert data_files(store) == files


def test_sweeping_and_purging_nothing_is_no_error(store: DeltaHandle) -> None:
    assert store.sweep([]) == 0
    store.purge()
    store.purge()


def test_a_purged_location_never_shows_what_came_after(store: DeltaHandle) -> None:
    old = store.write(days(1.0), uuid4(), None)
    store.purge()
    with pytest.raises(VersionLost):
        store.scan(old.location)
    store.write(days(2.0), uuid4(), old.location)
    with pytest.raises(VersionLost):
        store.scan(old.location)


ID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "location",
    ["", "..", "/etc", f"../{ID}.v0", f"{ID}.v-1", f"{ID}.v01", f"{ID}.v0\n", f"{ID}.v{'9' * 30}"],
)
def test_what_is_no_location_is_refused(store: DeltaHandle, location: str) -> None:
    store.write(days(1.0), uuid4(), None)
    with pytest.raises(LocationRefused):
        store.scan(location)
    with pytest.raises(LocationRefused):
        store.sweep([location])


def test_a_version_that_was_never_made_is_lost(store: DeltaHandle) -> None:
    made = store.write(days(1.0), uuid4(), None)
    with pytest.raises(VersionLost):
        store.scan(made.location.replace(".v0", ".v7"))


def test_a_log_cannot_lead_out_of_the_root(store: DeltaHandle, tmp_path: Path) -> None:
    version = store.write(days(1.0), uuid4(), None)
    secret = tmp_path / "secret.parquet"
    days(42.0).write_parquet(secret)
    commit = store._root / "_delta_log" / f"{0:020}.json"
    name = newest_file(store).name
    for path in (str(secret), "../secret.parquet", f"file://{secret}"):
        actions = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in actions:
            if "add" in action:
                action["add"]["path"] = path
        planted = DeltaStore().open(tmp_path / f"planted{len(path)}")
        (planted._root / "_delta_log").mkdir(parents=True)
        (planted._root / "_delta_log" / commit.name).write_text(
            "\n".join(json.dumps(action) for action in actions)
        )
        with pytest.raises(VersionLost):
            planted.scan(version.location)
    (store._root / name).unlink()
    (store._root / name).symlink_to(secret)
    with pytest.raises(VersionLost):
        store.scan(version.location)


@pytest.mark.parametrize("name", ["a[b]", "50%", "a|b", "a^b", "a\\b", "a\nb"])
def test_a_root_that_delta_lake_cannot_work_with_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocationRefused):
        DeltaStore().open(tmp_path / name)


@pytest.mark.parametrize("name", ["with blank", "é漢", "a#b?c&d=e+f", "a*b", "~", "a:b", "'\"`$"])
def test_a_root_may_have_any_other_name(tmp_path: Path, name: str) -> None:
    store = DeltaStore({"sweep_after_hours": 0}).open(tmp_path / name)
    first = store.write(days(1.0), uuid4(), None)
    second = store.append(days(2.0, first=1), uuid4(), first.location)
    store.write(days(3.0), uuid4(), second.location)
    assert store.sweep([first.location, second.location]) == 1
    assert_frame_equal(rows(store, second), days(1.0, 2.0))


def test_a_broken_log_is_told_in_one_line(store: DeltaHandle) -> None:
    store.write(days(1.0), uuid4(), None)
    (store._root / "_delta_log" / f"{1:020}.json").write_text("{broken")
    with pytest.raises(Unavailable) as caught:
        store.write(days(2.0), uuid4(), None)
    assert "\n" not in str(caught.value)


WRITER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4
import polars as pl
from prefect_instances.libs.plugins.delta import DeltaStore

store = DeltaStore().open(Path(sys.argv[1]))
base = None
for day in range(10_000):
    row = pl.DataFrame({"date": [date(2024, 1, 1) + timedelta(days=day)], "symbol": "A", "x": 1.0})
    version = store.append(row, uuid4(), base) if base else store.write(row, uuid4(), None)
    base = version.location
    print(base, version.rows, flush=True)
"""


@pytest.mark.parametrize(
    "versions", [1, *(pytest.param(count, marks=pytest.mark.thorough) for count in (2, 7)), 20]
)
def test_a_writer_that_is_killed_leaves_every_version_it_made(
    tmp_path: Path, versions: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "store")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    made = [process.stdout.readline().split() for _ in range(versions)]
    process.kill()
    process.communicate()
    store = DeltaStore({"sweep_after_hours": 0}).open(tmp_path / "store")
    for location, count in made:
        assert_frame_equal(rows(store, location), days(*[1.0] * int(count)))
    last, count = made[-1]
    store.sweep([last])
    version = store.append(days(2.0, first=int(count)), uuid4(), last)
    assert_frame_equal(rows(store, version), days(*[1.0] * int(count), 2.0))
