"""Directories and URLs of stored data."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.places import RemotePlace, parse_place
from prefect_instances.libs.plugins.object_blocks import ObjectStoreAccess
from prefect_instances.libs.settings import load_settings


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/data/stores", Path("/data/stores")),
        ("file:///data/my%20stores", Path("/data/my stores")),
        ("s3://bucket", RemotePlace("s3://bucket")),
        ("s3://bucket//a/b/", RemotePlace("s3://bucket/a/b")),
        ("az://container/a", RemotePlace("az://container/a")),
        ("gs://bucket/a", RemotePlace("gs://bucket/a")),
    ],
)
def test_a_place_is_a_directory_or_a_folder_in_an_object_store(
    text: str, place: Path | RemotePlace
) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/a",
        "s3://",
        "s3://key:secret@bucket/a",
        "s3://b/a?x=1",
        "s3://b/../c",
        "s3://b/a b",
    ],
)
def test_any_other_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_place(text)
    with pytest.raises(InvalidSpec) as caught:
        load_settings(store_root=text)
    assert [problem.path for problem in caught.value.problems] == ["INSTANCES_STORE_ROOT"]


def test_the_root_of_the_settings_names_their_block() -> None:
    settings = load_settings(store_root="s3://bucket/a", store_block="prices")
    assert settings.store_place == RemotePlace("s3://bucket/a", "prices")


def test_a_block_gives_only_the_options_that_are_set_and_hides_its_secrets() -> None:
    access = ObjectStoreAccess(endpoint="http://host:9000", key="id", secret="hidden")
    assert access.options() == {
        "timeout": "30s",
        "aws_endpoint": "http://host:9000",
        "aws_access_key_id": "id",
        "aws_secret_access_key": "hidden",
    }
    assert "hidden" not in repr(access)


@pytest.mark.parametrize("field", ["secret", "key"])
def test_a_block_with_an_account_is_for_azure(field: str) -> None:
    written = {"account": "desk", field: "hidden", "endpoint": "http://host:10000/desk/"}
    assert ObjectStoreAccess.model_validate(written).options() == {
        "timeout": "30s",
        "azure_storage_account_name": "desk",
        "azure_storage_account_key": "hidden",
        "azure_storage_endpoint": "http://host:10000/desk",
    }
