"""Block documents: the desired state of instances, written and read as typed block classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import ValidationError

from prefect_instances.libs.adapters.prefect.api import (
    Api,
    Calls,
    Refused,
    split_chunks,
    translate_errors,
)
from prefect_instances.libs.adapters.prefect.change import Change, EnsureResult
from prefect_instances.libs.core.errors import (
    DefinitionUnavailable,
    InvalidSpec,
    NotFound,
    PermanentError,
    Problem,
)

if TYPE_CHECKING:
    from prefect.blocks.core import Block

Answer = TypeVar("Answer")

REGISTRATIONS = 3
"""Maximum attempts at a registration while other processes register the same."""


class BlockCalls(Calls):
    """Calls about block types and documents."""

    def ensure_block_type(self, block_class: type[Block]) -> EnsureResult:
        """Register the type and the schema of a block class if they are missing."""
        slug = block_class.get_block_type_slug()
        before = _registered(self._api, slug)
        doing = f"register block type {slug}"
        with _as_client(self._api, doing):
            _through_races(doing, lambda: block_class.register_type_and_schema(_sync=True))  # type: ignore[call-arg]
        after = _registered(self._api, slug)
        if after is None:  # Deleted in the meantime.
            raise NotFound("block type", slug)
        if before is None:
            return EnsureResult(UUID(after["id"]), Change.CREATED)
        change = Change.UNCHANGED if before == after else Change.UPDATED
        return EnsureResult(UUID(after["id"]), change)

    def save_block(self, block: Block, name: str) -> UUID:
        """Save ``block`` as the document ``name`` of its type, replacing an existing one.

        Registers an unknown type. The id of an existing document does not change. ``name`` has
        lower-case letters, digits and dashes.
        """
        doing = f"save block document {block.get_block_type_slug()}/{name}"
        with _as_client(self._api, doing):
            try:
                saved = _through_races(
                    doing,
                    lambda: block.save(name, overwrite=True, _sync=True),  # type: ignore[call-arg]
                )
            except ValidationError as error:
                raise InvalidSpec(_problems(error)) from error
        return cast(UUID, saved)

    def load_block(self, slug_and_name: str) -> Block:
        """Load the document ``type-slug/name`` as an object of its class, which must be imported.

        Raises NotFound if there is no such document, InvalidSpec if it is not valid for its class,
        DefinitionUnavailable if this process does not know the class.
        """
        slug, _, name = slug_and_name.partition("/")
        if self.find_block_document(slug, name) is None:
            raise NotFound("block document", slug_and_name)
        from prefect.blocks.core import Block

        with _as_client(self._api, f"load block document {slug_and_name}"), _readable(slug, name):
            return cast(Block, Block.load(slug_and_name, _sync=True))  # type: ignore[call-arg]

    def find_block_document(self, type_slug: str, name: str) -> UUID | None:
        """Return the id of the document, or None if there is none (or no such type)."""
        path = f"{_type_path(type_slug)}/block_documents/name/{quote(name, safe='')}"
        document = self._api.find(path, doing=f"read block document {type_slug}/{name}")
        return None if document is None else UUID(document["id"])

    def read_secrets(self, type_slug: str, name: str) -> dict[str, Any] | None:
        """Return a document's content with secrets in clear; None if missing. Never print it."""
        path = f"{_type_path(type_slug)}/block_documents/name/{quote(name, safe='')}"
        document = self._api.find(
            f"{path}?include_secrets=true", doing=f"read block document {type_slug}/{name}"
        )
        return None if document is None else cast("dict[str, Any]", document["data"])

    def read_block_documents(self, ids: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the content of the documents as saved; missing ones are left out."""
        found = {}
        for some in split_chunks(ids):
            body = {"block_documents": {"id": {"any_": some}}}
            for document in self._api.pages(
                "/block_documents/filter", body, doing="read block documents"
            ):
                found[UUID(document["id"])] = document["data"]
        return found

    def delete_block_document(self, document_id: UUID) -> bool:
        """Delete the document; return False if it did not exist."""
        return self._api.delete(f"/block_documents/{document_id}", doing="delete a block document")


def _registered(api: Api, slug: str) -> dict[str, Any] | None:
    """Return the type's document and the checksums of its schemas, without timestamps."""
    type_ = api.find(_type_path(slug), doing=f"read block type {slug}")
    if type_ is None:
        return None
    body = {"block_schemas": {"block_type_id": {"any_": [type_["id"]]}}}
    schemas = api.pages("/block_schemas/filter", body, doing="list block schemas")
    return {
        **{name: value for name, value in type_.items() if name not in {"created", "updated"}},
        "schemas": sorted(schema["checksum"] for schema in schemas),
    }


@contextmanager
def _as_client(api: Api, doing: str) -> Iterator[None]:
    """Make this server the one that block classes find: they look for a server themselves."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    # Building the settings again takes longer than saving a document.
    known = PREFECT_API_URL.value() == api.url
    found = nullcontext() if known else temporary_settings({PREFECT_API_URL: api.url})
    with found, translate_errors(doing):
        yield


def _through_races(doing: str, call: Callable[[], Answer]) -> Answer:
    """Retry ``call`` if another process registers the same first; the next try finds it."""
    for _ in range(REGISTRATIONS - 1):
        try:
            with translate_errors(doing):
                return call()
        except Refused as refusal:
            if refusal.status != httpx.codes.CONFLICT:
                raise
    with translate_errors(doing):
        return call()


@contextmanager
def _readable(slug: str, name: str) -> Iterator[None]:
    """Translate the errors of turning a stored document into an object."""
    from prefect.blocks.core import UnknownBlockType

    try:
        yield
    except UnknownBlockType as error:
        detail = "its class is not imported in this process"
        raise DefinitionUnavailable("block", slug, None, detail) from error
    except RuntimeError as error:
        if isinstance(error.__cause__, ValidationError):
            raise InvalidSpec(_problems(error.__cause__)) from error
        raise PermanentError(f"block document {slug}/{name} cannot be loaded: {error}") from error
    except ValueError as error:  # Deleted after it was found.
        raise NotFound("block document", f"{slug}/{name}") from error


def _problems(error: ValidationError) -> list[Problem]:
    return [
        Problem(".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, "))
        for item in error.errors()
    ]


def _type_path(slug: str) -> str:
    return f"/block_types/slug/{quote(slug, safe='')}"
