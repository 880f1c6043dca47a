"""Folders in object stores (S3, Azure, Google): what the stores and pipelines need of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import Field, field_validator

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.places import Place, RemotePlace, parse_place
from prefect_instances.libs.definitions.store import Store
from prefect_instances.libs.plugins.object_blocks import read_options

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CLIENT = ("timeout", "connect_timeout", "allow_http")
"""Options of the HTTP client, which obstore takes apart from the others."""

# Plain HTTP is used only if an endpoint says http://, and then it is meant.
_DEFAULTS = {"timeout": "30s", "connect_timeout": "5s", "allow_http": "true"}
RETRIES, RETRY_SECONDS = 3, 30

_NO_BUCKET = "NoSuchBucket|bucket does not exist"
_NO_CONTAINER = "ContainerNotFound|ContainerBeingDeleted|specified container does not exist"

_FAULTS = (
    (_NO_BUCKET, "the bucket does not exist"),
    (_NO_CONTAINER, "the container does not exist"),
    # What a machine of a cloud answers, or another, if it is asked for its identity.
    (r"169\.254\.169\.254", "no key was found: name an Object store block"),
    ("Account must be specified", "no account was named: set it in the Object store block"),
    ("Invalid Access Key", "the key is not one of an account: a connection string is not a key"),
    ("is not valid for store", "the Object store block is for another service"),
    ("ResourceNotFound", "the endpoint does not know the account: check both"),
    (
        "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint"
        "|redirect without LOCATION|region is wrong|301 Moved",
        "the bucket is in another region: set the region",
    ),
    (
        "AccessDenied|PermissionDenied|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidClientTokenId"
        "|Unauthenticated|403 Forbidden|401 Unauthorized|lacked the required"
        "|AuthenticationFailed|AuthorizationFailure|AuthorizationPermissionMismatch"
        # Of one object in a bulk delete.
        "|not authorized to perform|code: 40[13]",
        "access is denied: check the key and its rights",
    ),
    ("timed out|operation timed out|TimedOut", "it does not answer in time"),
    ("Connection refused|error sending request|dns error", "it cannot be reached"),
    ("metadata|credential", "no key was found: name an Object store block"),
)


class RemoteConfig(Store.Config):
    """Where a store keeps its data; for stores that work in directories and object stores."""

    root: str = Field(
        default="",
        description="Directory or URL (file://, s3://, az://, gs://) of the data; empty: that of "
        "the home.",
    )
    object_store: str = Field(
        default="",
        description="Prefect block of type Object store with endpoint and key; empty: the "
        "environment's own identity.",
    )

    @field_validator("root")
    @classmethod
    def _is_place(cls, root: str) -> str:
        if root:
            parse_place(root)
        return root

    def place(self, default: Place) -> Place:
        """Return the configured place, ``default`` if there is none."""
        return parse_place(self.root, self.object_store) if self.root else default


class Folder:
    """One folder of an object store; names are relative to it."""

    def __init__(self, place: RemotePlace) -> None:
        self.url = place.url
        self.options = {**_DEFAULTS, **_commit_options(place.scheme), **read_options(place.block)}
        with self.errors():
            self._store = _opened(self.url, self.options)

    def names(self, prefix: str = "") -> dict[str, datetime]:
        """Return the names in the folder below ``prefix``, with the time of their last change."""
        import obstore

        with self.errors():
            found = [one for chunk in obstore.list(self._store, prefix or None) for one in chunk]
        return {one["path"]: one["last_modified"] for one in found}

    def check(self) -> None:
        """Ask for one name; raise ``Unavailable`` with the reason if the folder cannot be read."""
        import obstore

        with self.errors():
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def probe(self) -> None:
        """List, write and delete one object; raise ``Unavailable`` with what is not possible."""
        self.check()
        name = f".probe-{uuid4().hex}"
        with self._telling("it can be read but not written"):
            self.put(name, b"")
        with self._telling("it can be written, but nothing can be deleted"):
            self.remove([name])

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            raise Unavailable(error.service, f"{what}: {error.detail}") from error

    def read(self, name: str) -> bytes | None:
        """Return the content of an object, None if there is none of this name."""
        import obstore

        with self.errors():
            try:
                return bytes(obstore.get(self._store, name).bytes())
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None

    def put(self, name: str, data: bytes, *, absent: bool = False) -> bool:
        """Store an object; with ``absent`` only if there is none, otherwise return False."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self.errors():
            try:
                obstore.put(self._store, name, data, mode="create" if absent else "overwrite")
            except AlreadyExistsError:
                return False
        return True

    def remove(self, names: Collection[str]) -> None:
        """Delete objects; one that is missing is no error."""
        import obstore

        left = set(names)
        with self.errors():
            while left:
                try:
                    obstore.delete(self._store, sorted(left))
                    left = set()
                except FileNotFoundError as error:
                    # Azure and Google say so, and the others may still be there.
                    self._require_bucket(error)
                    left &= self.names().keys()

    def urls(self, names: Collection[str]) -> list[str]:
        """Return the addresses of objects of this folder."""
        return [f"{self.url}/{name}" for name in names]

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate errors of the object store into one line that says what is wrong."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise Unavailable(*self._reason(error)) from error

    def unavailable(self, error: Exception) -> Unavailable:
        """Return the error of this project for an error of a library that reads the folder."""
        return Unavailable(*self._reason(error))

    def _require_bucket(self, error: FileNotFoundError) -> None:
        """Raise ``Unavailable`` if an object is missing because its bucket is."""
        if re.search(f"{_NO_BUCKET}|{_NO_CONTAINER}", str(error)):
            raise Unavailable(*self._reason(error)) from error

    def _reason(self, error: Exception) -> tuple[str, str]:
        parts = urlsplit(self.url)
        return f"object store {parts.scheme}://{parts.netloc}", explain(str(error))


def explain(text: str) -> str:
    """Return one line for the error text of an object store; its own first line if unknown."""
    for pattern, meaning in _FAULTS:
        if re.search(pattern, text, re.IGNORECASE):
            return meaning
    return (text.strip().splitlines() or ["unknown error"])[0][:200]


def _commit_options(scheme: str) -> dict[str, str]:
    """Return what makes a commit atomic: a put that fails if the name exists."""
    return {"aws_conditional_put": "etag"} if scheme == "s3" else {}


def _opened(url: str, options: Mapping[str, str]) -> ObjectStore:
    from obstore.store import AzureStore, from_url

    client: Any = {name: value for name, value in options.items() if name in _CLIENT}
    client["allow_http"] = client["allow_http"] == "true"
    config: Any = {name: value for name, value in options.items() if name not in _CLIENT}
    retry: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    shared: Any = {"client_options": client, "retry_config": retry}
    parts = urlsplit(url)
    if parts.scheme == "az":
        # obstore reads az://account/container, all others az://container.
        prefix = parts.path.strip("/") or None
        return AzureStore(parts.netloc, prefix=prefix, config=config, **shared)
    return from_url(url, config=config, **shared)
