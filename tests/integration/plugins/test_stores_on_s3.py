"""The stores in an object store: a handful of the contract, and what only a network can do."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from prefect_instances.libs.core.errors import InvalidSpec, Unavailable
from prefect_instances.libs.core.places import RemotePlace
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.pipeline import ExtractContext
from prefect_instances.libs.definitions.store import (
    LocationRefused,
    Store,
    StoreHandle,
    VersionTaken,
)
from prefect_instances.libs.plugins import remote
from prefect_instances.libs.plugins.delta import DeltaStore
from prefect_instances.libs.plugins.file import FilePipeline
from prefect_instances.libs.plugins.parquet import ParquetStore
from prefect_instances.libs.plugins.parquet_remote import RemoteParquetHandle
from prefect_instances.libs.plugins.remote import Folder, explain
from prefect_instances.libs.plugins.sql_table import SqlTableStore
from prefect_instances.libs.services.lifecycle.store_places import check_store
from prefect_instances.libs.specs.instances.instance import DatasetSpec
from tests.integration.plugins.test_store_contract import (  # noqa: F401 - run here on S3
    days,
    rows,
    test_a_retry_gives_the_version_that_it_made,
    test_a_version_is_what_was_written,
    test_a_write_that_fails_leaves_everything_as_it_was,
    test_an_unpublished_write_is_in_no_later_version,
    test_sweeping_removes_just_what_nothing_kept_needs,
    test_threads_that_write_at_once_each_get_their_own_rows,
)
from tests.object_store import S3, ObjectServer

NO_BUCKET = r"the (bucket|container) does not exist"
STORES: dict[str, type[Store]] = {"delta": DeltaStore, "parquet": ParquetStore}


@pytest.fixture
def server(s3: S3) -> ObjectServer:
    """The server of ``bucket``; other servers that run tests of this file have their own."""
    return s3


@pytest.fixture(params=list(STORES))
def definition(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]({"sweep_after_hours": 0})


@pytest.fixture
def opened(definition: Store, bucket: RemotePlace) -> Callable[[], StoreHandle]:
    return lambda: definition.open_at(bucket / "folder" / "store")


@pytest.fixture
def store(opened: Callable[[], StoreHandle]) -> StoreHandle:
    return opened()


def test_purging_leaves_no_object_and_no_other_folder_loses_one(
    store: StoreHandle, definition: Store, bucket: RemotePlace, server: ObjectServer
) -> None:
    name = name_of(bucket)
    other = definition.open_at(bucket / "folder" / "store2")
    kept = other.write(days(2.0), uuid4(), None)
    before = server.keys(name)
    store.write(days(1.0), uuid4(), None)
    store.purge()
    assert server.keys(name) == before
    assert_frame_equal(rows(other, kept), days(2.0))


def test_an_answer_lost_after_the_commit_is_recognised(
    store: StoreHandle,
    bucket: RemotePlace,
    server: ObjectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token, base = uuid4(), store.write(days(1.0), uuid4(), None)
    with monkeypatch.context() as patched:
        _lose_answers(patched)
        with pytest.raises(Unavailable):
            store.write(days(1.0, 2.0), token, base.location)
    before = server.keys(name_of(bucket))
    made = store.write(days(1.0, 2.0), token, base.location)
    assert_frame_equal(rows(store, made), days(1.0, 2.0))
    assert server.keys(name_of(bucket)) == before


def name_of(bucket: RemotePlace) -> str:
    return bucket.url.rpartition("/")[2]


def _lose_answers(patched: pytest.MonkeyPatch) -> None:
    """Let every commit reach the server, and fail when its answer should arrive."""
    import deltalake
    import obstore

    put, write = obstore.put, deltalake.write_deltalake

    def put_and_fail(store: object, name: str, data: bytes, **options: object) -> None:
        put(store, name, data, **options)
        if name.endswith(".json"):
            raise OSError("connection reset")

    def write_and_fail(*given: object, **options: object) -> None:
        write(*given, **options)
        raise OSError("connection reset")

    patched.setattr("obstore.put", put_and_fail)
    patched.setattr("deltalake.write_deltalake", write_and_fail)


def test_of_two_writers_of_one_record_the_second_gets_the_conflict(bucket: RemotePlace) -> None:
    store = ParquetStore({}).open_at(bucket / "raced")
    assert isinstance(store, RemoteParquetHandle)
    made = store._load(store.write(days(1.0), uuid4(), None).location)
    assert made is not None
    other = type(made)(
        made.location, made.parts, 1, made.min_date, made.max_date, "other", made.schema
    )
    with pytest.raises(VersionTaken):
        store._save(other, None)
    assert store._load(made.location) == made


def test_two_racing_first_commits_of_delta_make_two_versions(bucket: RemotePlace) -> None:
    barrier = threading.Barrier(2)
    made: dict[float, str] = {}

    def write(value: float) -> None:
        mine = DeltaStore({}).open_at(bucket / "raced")
        barrier.wait()
        made[value] = mine.write(days(value), uuid4(), None).location

    threads = [threading.Thread(target=write, args=(value,)) for value in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {location.rpartition(".")[2] for location in made.values()} == {"v0", "v1"}
    for value, location in made.items():
        assert_frame_equal(rows(DeltaStore({}).open_at(bucket / "raced"), location), days(value))


def test_a_bucket_that_is_missing_or_deleted_is_named(
    store: StoreHandle, bucket: RemotePlace, server: ObjectServer
) -> None:
    made = store.write(days(1.0), uuid4(), None)
    server.delete_bucket(name_of(bucket))
    for action in (
        lambda: store.scan(made.location),
        lambda: store.write(days(1.0), uuid4(), None),
        lambda: store.sweep([]),
        lambda: store.purge(),
    ):
        with pytest.raises(Unavailable, match=NO_BUCKET) as caught:
            action()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("<Code>AccessDenied</Code>", "access is denied: check the key and its rights"),
        ("<Code>PermanentRedirect</Code>", "the bucket is in another region: set the region"),
        ("<Code>NoSuchBucket</Code>", "the bucket does not exist"),
        ("<Code>ContainerBeingDeleted</Code>", "the container does not exist"),
        ("<Code>AuthenticationFailed</Code>", "access is denied: check the key and its rights"),
        (
            # What Azure says of one object in a bulk delete.
            "Bulk delete request failed for key a: This request is not authorized to perform this "
            "operation using this permission. (code: 403)",
            "access is denied: check the key and its rights",
        ),
        (
            "GET http://169.254.169.254/metadata/identity/oauth2/token: 403 Forbidden",
            "no key was found: name an Object store block",
        ),
        ("strange\nand long", "strange"),
    ],
)
def test_an_error_of_the_service_is_one_line_that_says_what_to_do(text: str, meaning: str) -> None:
    assert explain(text) == meaning


def test_a_reader_sees_columns_without_reading_rows(store: StoreHandle) -> None:
    made = store.write(days(1.0), uuid4(), None)
    assert store.scan(made.location).collect_schema() == pl.Schema(days(1.0).schema)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("in/*.csv.gz", [1.0, 2.0], id="pattern"),
        pytest.param("in", [1.0, 2.0], id="folder"),
        pytest.param("in/b.csv.gz", [2.0], id="file"),
        pytest.param("*/b.csv.gz", [2.0], id="pattern of folders"),
    ],
)
def test_a_file_pipeline_reads_compressed_files_of_a_bucket(
    bucket: RemotePlace, path: str, expected: list[float]
) -> None:
    folder = Folder(bucket)
    for at, name in enumerate(("in/a.csv.gz", "in/b.csv.gz", "in/deeper/c.csv.gz")):
        text = f"date,symbol,x\n2024-01-0{at + 1},A,{at + 1}.0\n"
        folder.put(name, gzip.compress(text.encode()))
    pipeline = FilePipeline({"path": f"{bucket.url}/{path}"})
    assert pipeline.check([]) == []
    assert (
        pipeline.extract(ExtractContext("file", datetime(2024, 1, 1, tzinfo=UTC)), [], None)
        .frame["x"]
        .to_list()
        == expected
    )


def test_a_file_pipeline_names_the_missing_bucket_and_the_missing_file(
    bucket: RemotePlace,
) -> None:
    missing = f"{bucket.url}/none.csv"
    (problem,) = FilePipeline({"path": missing}).check([])
    assert (problem.path, problem.message) == ("config.path", f"there is no file {missing!r}")
    (problem,) = FilePipeline({"path": f"{bucket.scheme}://no-such-bucket/x.csv"}).check([])
    assert re.search(f"{NO_BUCKET}$", problem.message)


@pytest.mark.parametrize("where", ["home", "store"])
def test_a_wrong_bucket_is_found_when_an_instance_is_provisioned(
    bucket: RemotePlace, where: str
) -> None:
    wrong = RemotePlace(f"{bucket.scheme}://no-such-bucket/a")
    pipeline = {"definition": "market_data"}
    config = {"root": wrong.url} if where == "store" else {}
    store = {"definition": "parquet", "config": config}
    document = {"project": "p", "name": "prices", "pipeline": pipeline, "store": store}
    spec = DatasetSpec.model_validate(document)
    home = wrong if where == "home" else bucket
    with pytest.raises(InvalidSpec) as caught:
        check_store(load_installed(), home, spec)
    (problem,) = caught.value.problems
    assert problem.path == "store.config"
    assert re.search(f"{NO_BUCKET}$", problem.message)
    right = {**document, "store": {"definition": "parquet", "config": {"root": bucket.url}}}
    check_store(load_installed(), home, DatasetSpec.model_validate(right))


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("s3:PutObject", "it can be read but not written"),
        ("s3:DeleteObject", "it can be written, but nothing can be deleted"),
    ],
)
@pytest.mark.parametrize("definition", list(STORES))
def test_a_right_that_is_missing_is_found_when_an_instance_is_provisioned(
    bucket: RemotePlace, s3: S3, definition: str, refused: str, said: str
) -> None:
    name = bucket.url.removeprefix("s3://")
    deny(s3, name, refused)
    assert problem_of_provisioning(bucket, definition) == (
        f"object store {bucket.url} is not available: {said}: "
        "access is denied: check the key and its rights"
    )
    s3.client().delete_bucket_policy(Bucket=name)
    before = s3.keys(name)
    check_store(load_installed(), bucket, prices(definition))
    assert s3.keys(name) == before


def deny(s3: S3, bucket: str, action: str) -> None:
    everything = {"Effect": "Deny", "Principal": "*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = {"Version": "2012-10-17", "Statement": [{**everything, "Action": action}]}
    s3.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def prices(store: str) -> DatasetSpec:
    """A dataset in a store of the home."""
    pipeline = {"definition": "market_data"}
    document = {"project": "p", "name": "prices", "pipeline": pipeline, "store": store}
    return DatasetSpec.model_validate(document)


def problem_of_provisioning(home: RemotePlace, store: str = "delta") -> str:
    """The one line that is said where the place of the home cannot be used."""
    with pytest.raises(InvalidSpec) as caught:
        check_store(load_installed(), home, prices(store))
    (problem,) = caught.value.problems
    assert (problem.path, problem.message.count("\n")) == ("store.config", 0)
    return problem.message


def test_an_endpoint_that_hangs_is_given_up_when_an_instance_is_provisioned(
    bucket: RemotePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_instances.libs.plugins.remote.RETRIES", 0)
    monkeypatch.setitem(remote._DEFAULTS, "timeout", "0.2s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert problem_of_provisioning(bucket).endswith("it does not answer in time")


@pytest.mark.parametrize(
    ("status", "code"), [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")]
)
def test_a_wrong_region_is_found_when_an_instance_is_provisioned(
    bucket: RemotePlace, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """The two answers of Amazon to it, as its reference has them; moto knows no regions."""
    with answer_always(status, f"<Error><Code>{code}</Code></Error>".encode()) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        said = problem_of_provisioning(bucket)
    assert said.endswith("the bucket is in another region: set the region")


@contextmanager
def answer_always(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to everything; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_store_that_works_in_directories_only_is_refused_in_a_bucket(bucket: RemotePlace) -> None:
    with pytest.raises(LocationRefused, match="works in a directory only"):
        SqlTableStore({}).open_at(bucket)
