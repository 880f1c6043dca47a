"""What the Parquet store adds to the contract of all stores: plain files, shared and guarded."""

from __future__ import annotations

import errno
import json
import os
from datetime import date
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.definitions.store import VersionLost
from prefect_instances.libs.plugins.parquet import ParquetHandle, ParquetStore

FIRST = pl.DataFrame({"date": [date(2024, 1, 1)], "symbol": ["A"], "x": [1.0]})
SECOND = FIRST.with_columns(date=date(2024, 1, 2), x=2.0)


@pytest.fixture
def store(tmp_path: Path) -> ParquetHandle:
    return ParquetStore({"sweep_after_hours": 0}).open(tmp_path)


def test_what_is_shared_is_not_written_again(store: ParquetHandle, tmp_path: Path) -> None:
    base = store.write(FIRST, uuid4(), None)
    store.write(pl.concat([FIRST, SECOND]), uuid4(), base.location)
    assert sorted(pl.read_parquet(path).height for path in tmp_path.glob("*.parquet")) == [1, 1]
    assert pl.read_parquet(tmp_path / "*.parquet").sort("date").equals(pl.concat([FIRST, SECOND]))


def test_no_record_and_no_link_leads_out_of_the_root(store: ParquetHandle, tmp_path: Path) -> None:
    version = store.write(FIRST, uuid4(), None)
    secret = tmp_path.parent / f"{uuid4().hex}.parquet"
    FIRST.write_parquet(secret)
    record = tmp_path / f"{version.location}.json"
    document = json.loads(record.read_text())
    for bad in ({"parts": [f"../{secret.stem}"]}, {"parts": None}, {"schema": [["x"]]}):
        record.write_text(json.dumps({**document, **bad}))
        with pytest.raises(VersionLost):
            store.scan(version.location)
    record.write_text(json.dumps(document))
    part = tmp_path / f"{version.location}.parquet"
    part.unlink()
    part.symlink_to(secret)
    with pytest.raises(VersionLost):
        store.scan(version.location)


def test_leftovers_of_a_dead_writer_are_swept(store: ParquetHandle, tmp_path: Path) -> None:
    version = store.write(FIRST, uuid4(), None)
    (tmp_path / f"{uuid4().hex}-0000000000000000.parquet").write_bytes(b"half")
    (tmp_path / "x.parquet.123.tmp").write_bytes(b"half")
    assert store.sweep([version.location]) == 2
    assert store.scan(version.location).collect().equals(FIRST)


def test_a_write_that_fails_leaves_no_draft(
    store: ParquetHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = store.write(FIRST, uuid4(), None)
    before = sorted(tmp_path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable):
            store.append(SECOND, uuid4(), base.location)

    assert sorted(tmp_path.iterdir()) == before
