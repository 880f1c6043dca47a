"""The demonstration, unchanged, in a home whose data are all in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from polars.testing import assert_frame_equal

from prefect_instances.libs import desk
from tests.e2e.demonstration import DEMO
from tests.e2e.stack import Stack
from tests.object_store import S3, serve_s3
from tests.prefect_server import DATABASE, begin_migrated

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

READ = "momentum_12m"
ON_DISK = ("sp500_prices", READ)


@pytest.fixture
def s3() -> Iterator[S3]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def home(s3: S3, tmp_path: Path, prefect_template: Path) -> Iterator[Stack]:
    """A running home that keeps everything in a new bucket."""
    begin_migrated(tmp_path / "prefect" / DATABASE, prefect_template)
    root = f"s3://{s3.make_bucket()}/stores"
    running = Stack(tmp_path, more={**s3.environment, "INSTANCES_STORE_ROOT": root})
    running.up()
    yield running
    running.down()


def test_the_demo_on_an_object_store_is_ready_reads_as_on_disk_and_is_purged(
    home: Stack, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in home.more.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INSTANCES_HOME", str(home.home))
    bucket = home.more["INSTANCES_STORE_ROOT"].split("/")[2]

    home.cli("apply", "-f", str(DEMO), "--wait", seconds=800)
    home.apply(_on_disk(home.home / "disk"), "--wait")

    assert len(home.statuses("demo")) == 9
    assert home.settled("demo")
    there, here = (desk.read(f"{project}/{READ}").collect() for project in ("demo", "disk"))
    assert there.height > 30_000
    assert_frame_equal(there, here)
    assert s3.keys(bucket)
    for source in ("sp500_prices", "sp500_index"):
        home.cli("delete", f"demo/{source}", "--cascade", "--purge")
    assert home.statuses("demo") == {}
    assert s3.keys(bucket) == []


def _on_disk(root: Path) -> dict[str, object]:
    """The instances of the demonstration that are read, in a project of their own on disk."""
    instances = yaml.safe_load(DEMO.read_text())["instances"]
    store = {"definition": "delta", "config": {"root": str(root)}}
    kept = [{**each, "store": store} for each in instances if each["name"] in ON_DISK]
    return {"project": "disk", "instances": kept}
