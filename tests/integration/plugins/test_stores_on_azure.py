"""The stores in Azure Blob Storage: what depends on the service, and how it says what is wrong.

The whole contract runs on it in ``test_store_contract.py``.
"""

from __future__ import annotations

from uuid import uuid4

import pytest

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.places import RemotePlace
from prefect_instances.libs.definitions.store import Store
from prefect_instances.libs.plugins import remote
from prefect_instances.libs.plugins.object_blocks import ObjectStoreAccess
from prefect_instances.libs.plugins.remote import Folder
from tests.azurite import ACCOUNT, KEY, Azurite
from tests.integration.plugins.test_store_contract import (  # noqa: F401 - run here on Azure
    days,
    rows,
    test_sweeping_removes_just_what_nothing_kept_needs,
)
from tests.integration.plugins.test_stores_on_s3 import (  # noqa: F401 - run here on Azure
    STORES,
    opened,
    problem_of_provisioning,
    store,
    test_a_bucket_that_is_missing_or_deleted_is_named,
    test_a_file_pipeline_names_the_missing_bucket_and_the_missing_file,
    test_a_file_pipeline_reads_compressed_files_of_a_bucket,
    test_a_wrong_bucket_is_found_when_an_instance_is_provisioned,
    test_an_answer_lost_after_the_commit_is_recognised,
    test_of_two_writers_of_one_record_the_second_gets_the_conflict,
    test_purging_leaves_no_object_and_no_other_folder_loses_one,
    test_two_racing_first_commits_of_delta_make_two_versions,
)
from tests.object_store import ObjectServer

# The first of them brings Azurite and a Node for it, which takes a minute.
pytestmark = pytest.mark.thorough

DENIED = "access is denied: check the key and its rights"


@pytest.fixture
def server(azurite: Azurite) -> ObjectServer:
    return azurite


@pytest.fixture
def bucket(container: RemotePlace) -> RemotePlace:
    return container


@pytest.fixture(params=list(STORES))
def definition(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]({"sweep_after_hours": 0})


def test_an_object_that_is_deleted_already_hinders_no_deletion(bucket: RemotePlace) -> None:
    folder = Folder(bucket / "folder")
    names = ["a", "b", "c"]
    for name in names:
        folder.put(name, b"")
    folder.remove(["0", "b", "bb"])
    folder.remove(names)
    assert folder.names() == {}


def test_a_missing_container_is_not_taken_for_a_missing_object(bucket: RemotePlace) -> None:
    folder = Folder(RemotePlace("az://no-such-container/folder"))
    for action in (lambda: folder.read("a"), lambda: folder.remove(["a"])):
        with pytest.raises(Unavailable, match="the container does not exist"):
            action()


def use_only(options: dict[str, str], server: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a block have these options, and the environment none."""
    for name in server.environment:
        monkeypatch.delenv(name)
    monkeypatch.setattr(remote, "read_options", lambda _: options)


def test_a_block_reaches_azure_without_the_environment(
    definition: Store, bucket: RemotePlace, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = ObjectStoreAccess(account=ACCOUNT, secret=KEY, endpoint=f"{azurite.endpoint}/")
    use_only(access.options(), azurite, monkeypatch)
    there = definition.open_at(bucket / "store")
    assert rows(there, there.write(days(1.0), uuid4(), None)).equals(days(1.0))


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"account": ACCOUNT, "secret": "d3Jvbmc="}, DENIED),
        (
            {"account": ACCOUNT, "secret": f"AccountName={ACCOUNT};AccountKey={KEY}"},
            "the key is not one of an account: a connection string is not a key",
        ),
        ({"account": "other", "secret": KEY}, "the endpoint does not know the account: check both"),
        ({"secret": KEY}, "the Object store block is for another service"),
        (None, "no account was named: set it in the Object store block"),
    ],
)
def test_a_wrong_access_is_one_line_when_an_instance_is_provisioned(
    bucket: RemotePlace,
    azurite: Azurite,
    monkeypatch: pytest.MonkeyPatch,
    access: dict[str, str] | None,
    said: str,
) -> None:
    options = {}
    if access is not None:
        endpoint = azurite.endpoint.replace(ACCOUNT, access.get("account", ""))
        options = ObjectStoreAccess.model_validate({**access, "endpoint": endpoint}).options()
    use_only(options, azurite, monkeypatch)
    assert problem_of_provisioning(bucket).endswith(said)


def test_a_right_to_write_that_is_missing_is_found_when_an_instance_is_provisioned(
    bucket: RemotePlace, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azurite deletes nothing with a signature, so the right to delete cannot be tried."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", azurite.sign("rl"))
    assert problem_of_provisioning(bucket).endswith(f"it can be read but not written: {DENIED}")
