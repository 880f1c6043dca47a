"""Random histories of the Delta Lake store: whatever is done to it, published versions stay."""

from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
from deltalake import DeltaTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from polars.testing import assert_frame_equal

from prefect_instances.libs.definitions.content import conform
from prefect_instances.libs.definitions.store import StoredVersion
from prefect_instances.libs.plugins.delta import DeltaHandle, DeltaStore

START = date(2024, 1, 1)
NAN = float("nan")


def days(*values: float) -> pl.DataFrame:
    """One symbol, one row a day from ``START``."""
    dates = [START + timedelta(days=i) for i in range(len(values))]
    schema = {"date": pl.Date, "symbol": pl.String, "x": pl.Float64}
    return pl.DataFrame({"date": dates, "symbol": ["A"] * len(values), "x": values}, schema=schema)


def rows(store: DeltaHandle, location: str) -> pl.DataFrame:
    return conform(store.scan(location).collect())


def test_sweeping_behind_a_shortened_log_removes_nothing(tmp_path: Path) -> None:
    store = DeltaStore({"sweep_after_hours": 0}).open(tmp_path)
    version = store.write(days(0.0), uuid4(), None)
    for count in range(2, 24):
        version = store.write(days(*map(float, range(count))), uuid4(), version.location)
    store.write(days(666.0), uuid4(), version.location)
    # A checkpoint replaces the commits before it, but it does not say what those needed.
    (tmp_path / "_delta_log" / f"{0:020}.json").unlink()
    assert store.sweep([version.location]) == 0
    assert_frame_equal(rows(store, version.location), days(*map(float, range(23))))


class Histories(RuleBasedStateMachine):
    """Whatever runs, dies, retries, restores and sweeps: published versions stay what they were."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = DeltaStore({"sweep_after_hours": 0}).open(Path(self.folder.name) / "store")
        self.published: dict[str, pl.DataFrame] = {}
        self.current: str | None = None
        self.unpublished: list[tuple[UUID, pl.DataFrame, StoredVersion]] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    def frame(self) -> pl.DataFrame:
        return self.published[self.current] if self.current else days()

    def extended(self, value: float) -> pl.DataFrame:
        before = self.frame().get_column("x").to_list()
        return days(*before, value)

    numbers = st.sampled_from([0.0, 1.0, 2.0, NAN])

    @rule(value=numbers, publish=st.booleans(), fast=st.booleans())
    def extend(self, value: float, publish: bool, fast: bool) -> None:
        frame, token = self.extended(value), uuid4()
        if fast and self.current:
            version = self.store.append(frame.tail(1), token, self.current)
        else:
            version = self.store.write(frame, token, self.current)
        self.keep(token, frame, version, publish)

    @rule(values=st.lists(numbers, max_size=4), publish=st.booleans())
    def replace(self, values: list[float], publish: bool) -> None:
        frame, token = days(*values), uuid4()
        self.keep(token, frame, self.store.write(frame, token, self.current), publish)

    @precondition(lambda self: self.current)
    @rule(values=st.lists(numbers, min_size=1, max_size=3))
    def widen(self, values: list[float]) -> None:
        frame, token = days(*values).with_columns(y=pl.lit(1)), uuid4()
        version = self.store.write(frame, token, self.current)
        assert_frame_equal(rows(self.store, version.location), frame)

    @precondition(lambda self: self.unpublished)
    @rule(data=st.data(), publish=st.booleans())
    def retry(self, data: st.DataObject, publish: bool) -> None:
        token, frame, version = data.draw(st.sampled_from(self.unpublished))
        again = self.store.write(frame, token, self.current)
        assert again == version
        if publish:
            self.published[again.location] = frame
            self.current = again.location

    @rule(value=numbers)
    def die_before_the_commit(self, value: float) -> None:
        (self.store._root).mkdir(exist_ok=True)
        self.extended(value).write_parquet(self.store._root / f"part-{uuid4()}.parquet")

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def restore_by_other_hands(self, data: st.DataObject) -> None:
        number = int(data.draw(st.sampled_from(sorted(self.published))).rsplit(".v", 1)[1])
        table = DeltaTable(self.store._root)
        if number < table.version():
            table.restore(number)

    @rule()
    def sweep(self) -> None:
        self.store.sweep(list(self.published))
        self.unpublished.clear()

    @precondition(lambda self: len(self.published) > 1)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        old = sorted(set(self.published) - {self.current})
        del self.published[data.draw(st.sampled_from(old))]

    def keep(self, token: UUID, frame: pl.DataFrame, version: StoredVersion, publish: bool) -> None:
        assert version.rows == frame.height
        assert_frame_equal(rows(self.store, version.location), frame)
        if publish:
            self.published[version.location] = frame
            self.current = version.location
        else:
            self.unpublished.append((token, frame, version))

    @invariant()
    def published_versions_are_what_they_were(self) -> None:
        for location, frame in self.published.items():
            assert_frame_equal(rows(self.store, location), frame)


TestHistories = Histories.TestCase
# Each step writes files, so a third of the examples of short profiles, and never more than 25.
TestHistories.settings = settings(
    max_examples=min(25, max(5, settings().max_examples // 3)),
    stateful_step_count=20,
    deadline=None,
)
