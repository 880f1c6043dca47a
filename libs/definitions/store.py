"""Stores: they hold the versions of a dataset, with guarantees common to every store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from prefect_instances.libs.core.errors import PermanentError, TemporaryError
from prefect_instances.libs.core.places import Place, RemotePlace
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import polars as pl


class VersionLost(PermanentError):
    """A version is missing from its store: refresh the instance in full mode."""

    def __init__(self, location: str, detail: str) -> None:
        self.location = location
        super().__init__(
            f"stored version {location!r} cannot be read: {detail}; make it again by "
            "`instances run NAME --mode full`, with the name of the instance that it belongs to"
        )


class LocationRefused(PermanentError):
    """A path leads outside the root of its store: correct the name that it comes from."""

    def __init__(self, location: str, detail: str) -> None:
        self.location = location
        super().__init__(f"{location!r} is not a location of this store: {detail}")


class VersionTaken(TemporaryError):
    """Another writer stored other rows as the same version: run the flow again."""

    def __init__(self, location: str) -> None:
        self.location = location
        super().__init__(f"version {location!r} was stored by another writer with other rows")


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One immutable version from a write; invisible until its location is published.

    ``location`` is what ``scan`` takes; the dates are ``None`` for a version without rows.
    """

    location: str
    rows: int
    min_date: date | None
    max_date: date | None
    schema_hash: str


class StoreHandle(ABC):
    """The versions of one dataset below one root.

    Guarantees: a write is atomic, and a failed or abandoned write changes no version; a version
    always has the same rows, whatever is written concurrently; versions never contain rows of an
    unpublished write. Frames must pass ``check_frame`` of ``libs.definitions.content``.
    """

    @abstractmethod
    def write(self, frame: pl.DataFrame, token: UUID, base: str | None) -> StoredVersion:
        """Write a version that holds exactly the rows of ``frame``.

        ``token`` names the attempt: a retry with the same token and rows returns the version that
        the first attempt wrote. ``base`` is the location of the published version, ``None`` if
        there is none; a store may share equal data with it. Raises ``Unavailable`` if the storage
        fails: nothing is visible then, and the write may be retried.
        """

    def append(self, frame: pl.DataFrame, token: UUID, base: str) -> StoredVersion:
        """Write a version with the rows of ``base`` and those of ``frame``, all of later dates.

        A fast form of ``write`` with the same guarantees. ``frame`` has the columns of ``base``;
        rows that are not later are the caller's mistake (``ValueError``).
        """
        import polars as pl

        stored = self.scan(base).collect()
        whole = pl.concat([stored, frame.select(stored.columns)])
        return self.write(whole, token, base)

    @abstractmethod
    def scan(self, location: str) -> pl.LazyFrame:
        """Return the rows of a version, in no particular order.

        Raises ``LocationRefused`` if ``location`` is invalid, ``VersionLost`` if the version is
        missing.
        """

    @abstractmethod
    def sweep(self, keep: Collection[str]) -> int:
        """Remove files that no version in ``keep`` needs, if that is safe; return how many.

        Safe means: never a file that a running write may still publish.
        """

    def check(self) -> None:  # noqa: B027 - a directory needs no answer
        """Raise ``Unavailable``, with the reason, unless data can be read, written and deleted."""

    @abstractmethod
    def purge(self) -> None:
        """Remove every version and everything else below the root; an empty root is no error."""


class Store(Definition):
    """Base of the definitions that store versions."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.STORE

    @abstractmethod
    def open(self, root: Path) -> StoreHandle:
        """Return the versions of one dataset below ``root``, a directory that need not exist yet.

        Raises ``LocationRefused`` if the store cannot work at that path.
        """

    def open_remote(self, root: RemotePlace) -> StoreHandle:
        """Return the versions of one dataset in a folder of an object store.

        Raises ``LocationRefused``: a store works in directories only, unless it says otherwise.
        """
        raise LocationRefused(root.url, f"store {self.name!r} works in a directory only")

    def place(self, default: Place) -> Place:
        """Return where the data of this store are; ``default`` is the place of the home."""
        return default

    def open_at(self, place: Place) -> StoreHandle:
        """Return the versions of one dataset at a place; raises as ``open`` and ``open_remote``."""
        return self.open_remote(place) if isinstance(place, RemotePlace) else self.open(place)


def inside(root: Path, location: str) -> Path:
    """Return the path of ``location`` below ``root``, with links resolved.

    Raises ``LocationRefused`` if it is absolute, contains ``..``, or a link leads outside.
    """
    if "\0" in location or "\\" in location:
        raise LocationRefused(location, "it contains a character that locations do not have")
    relative = Path(location)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise LocationRefused(location, "it must be a relative path without '..'")
    top = root.resolve()
    path = (top / relative).resolve()
    if top not in path.parents:
        raise LocationRefused(location, "it leads out of the root through a symbolic link")
    return path
