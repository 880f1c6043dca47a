"""Blocks on a real server: registered by Prefect's command, saved, edited and handed to a flow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_instances.blocks import BLOCKS, DatasetInstance, block_for
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.ids import block_document_name
from prefect_instances.libs.specs import InstanceSpec, parse_spec, spec_document
from tests.unit.test_blocks import (
    FAULTY,
    LONG,
    MOMENTUM,
    PATHS_OF_FAULTY,
    PRICES,
    paths_of,
    run,
)


@pytest.fixture(scope="module")
def client(prefect_environment: Mapping[str, str]) -> Iterator[SyncPrefectClient]:
    """A client of a server at which the block types were registered from the command line."""
    register = [sys.executable, "-m", "prefect", "block", "register", "-m", "blocks"]
    subprocess.run(register, env=dict(prefect_environment), check=True, capture_output=True)
    with (
        temporary_settings({PREFECT_API_URL: prefect_environment["PREFECT_API_URL"]}),
        get_client(sync_client=True) as connected,
    ):
        yield connected


def saved(spec: InstanceSpec) -> str:
    """The id of the block document that holds a spec."""
    name = block_document_name(spec.project, spec.name)
    return str(block_for(spec).save(name, overwrite=True))


def reference(document_id: object) -> dict[str, Any]:
    return {"$ref": {"block_document_id": str(document_id)}}


def test_the_block_types_are_registered_with_their_texts(client: SyncPrefectClient) -> None:
    for block in BLOCKS:
        registered = client.read_block_type_by_slug(block.get_block_type_slug())
        assert registered.name == block.get_block_type_name()
        assert registered.description == block.get_description()
        assert f"from prefect_instances.blocks import {block.__name__}" in (
            registered.code_example or ""
        )


@pytest.mark.parametrize("document", [PRICES, MOMENTUM], ids=["dataset", "signal"])
def test_a_saved_block_is_loaded_as_it_was(
    client: SyncPrefectClient, document: dict[str, Any]
) -> None:
    spec = parse_spec(document)
    document_id = saved(spec)
    block: Any = type(block_for(spec))
    name = block_document_name(spec.project, spec.name)
    assert block.load(name).spec() == spec
    assert type(Block.load(f"{block.get_block_type_slug()}/{name}")) is block
    assert run(reference(document_id)) == spec


def test_a_document_edited_to_the_long_spelling_is_loaded(client: SyncPrefectClient) -> None:
    document_id = saved(parse_spec({**PRICES, "name": "edited"}))
    update = BlockDocumentUpdate(data={**LONG, "name": "edited"}, merge_existing_data=False)
    client.update_block_document(UUID(document_id), update)
    expected = {**spec_document(parse_spec(PRICES)), "name": "edited"}
    loaded: Any = DatasetInstance.load("demo--edited")
    assert spec_document(loaded.spec()) == expected


def test_a_faulty_document_fails_the_run_with_every_problem(client: SyncPrefectClient) -> None:
    saved(parse_spec(PRICES))
    good = client.read_block_document_by_name("demo--sp500-prices", "dataset-instance")
    faulty = BlockDocumentCreate(
        name="demo--faulty",
        data=FAULTY,
        block_schema_id=good.block_schema_id,
        block_type_id=good.block_type_id,
    )
    document = client.create_block_document(faulty)
    with pytest.raises(InvalidSpec) as caught:
        run(reference(document.id))
    assert paths_of(caught.value) == PATHS_OF_FAULTY
    state = run(reference(document.id), return_state=True)
    assert state.is_failed()
    assert "is not an IANA time zone" in (state.message or "")


def test_a_reference_to_nothing_fails_the_run(client: SyncPrefectClient) -> None:
    with pytest.raises(ParameterTypeError):
        run(reference("0b9fdd9c-3a1c-4b12-9e37-0d3c8c6f2a11"))
