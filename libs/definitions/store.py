"""Stores: where the versions of a dataset are kept, and what every store promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import polars as pl


class VersionLost(PermanentError):
    """A version is not in its store any more: refresh the instance in full mode."""

    def __init__(self, location: str, detail: str) -> None:
        self.location = location
        super().__init__(f"stored version {location!r} cannot be read: {detail}")


class LocationRefused(PermanentError):
    """A path would leave the root of its store: correct what names it."""

    def __init__(self, location: str, detail: str) -> None:
        self.location = location
        super().__init__(f"{location!r} is not a location of this store: {detail}")


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One immutable version that a write made; nobody sees it before its location is published.

    ``location`` is what ``scan`` takes; the dates are ``None`` for a version without rows.
    """

    location: str
    rows: int
    min_date: date | None
    max_date: date | None
    schema_hash: str


class StoreHandle(ABC):
    """The versions of one dataset below one root.

    Promises: a write is atomic, and one that fails or is abandoned changes no version; a version
    once written has the same rows for ever, whatever else is written at the same time; versions
    never hold rows of a write that was not published. Frames are such that ``check_frame`` of
    ``libs.definitions.content`` accepts.
    """

    @abstractmethod
    def write(self, frame: pl.DataFrame, token: UUID, base: str | None) -> StoredVersion:
        """Make a version that holds exactly the rows of ``frame``.

        ``token`` names the attempt: a process that is retried with the same token and rows gets
        the version that it made before. ``base`` is the location of the version that is published
        now, ``None`` if there is none; a store may share what is equal with it. Raises
        ``Unavailable`` where the storage fails: then nothing is visible, and it may be retried.
        """

    def append(self, frame: pl.DataFrame, token: UUID, base: str) -> StoredVersion:
        """Make a version of the rows of ``base`` and those of ``frame``, all of later dates.

        The same promises as ``write``, of which it is the fast form. ``frame`` has the columns
        of ``base``; rows that are not later are a fault of the caller (``ValueError``).
        """
        import polars as pl

        stored = self.scan(base).collect()
        whole = pl.concat([stored, frame.select(stored.columns)])
        return self.write(whole, token, base)

    @abstractmethod
    def scan(self, location: str) -> pl.LazyFrame:
        """The rows of a version, in no particular order.

        Raises ``LocationRefused`` on what is no location, ``VersionLost`` where it is gone.
        """

    @abstractmethod
    def sweep(self, keep: Collection[str]) -> int:
        """Remove what no version in ``keep`` needs, where that is safe; the number of files.

        Safe means: never what a writer of now may still be about to publish.
        """

    @abstractmethod
    def purge(self) -> None:
        """Remove every version and all else below the root; nothing to remove is no error."""


class Store(Definition):
    """Base of the definitions that keep versions."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.STORE

    @abstractmethod
    def open(self, root: Path) -> StoreHandle:
        """The versions of one dataset below the directory ``root``, which need not exist yet.

        Raises ``LocationRefused`` where the store cannot work at that path.
        """


def inside(root: Path, location: str) -> Path:
    """The path of ``location`` below ``root``, links followed.

    Raises ``LocationRefused`` if it is absolute, climbs by ``..``, or leads out by a link.
    """
    if "\0" in location or "\\" in location:
        raise LocationRefused(location, "it contains a character that locations do not have")
    relative = Path(location)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise LocationRefused(location, "it must be a relative path without '..'")
    top = root.resolve()
    path = (top / relative).resolve()
    if top not in path.parents:
        raise LocationRefused(location, "it leads out of the root by a link")
    return path
