"""Versions made of parts, for stores with immutable pieces and a record of each version.

A part holds the rows of one write; a version is a list of parts. Parts shared with the previous
version are not written again, and no write changes the parts of another: there is nothing to lock
and nothing to undo. The record of a version is saved last, and only it makes the version exist.
Versions and parts are named ``<token>-<content hash>``: a retried write finds its earlier result,
and two concurrent attempts write the same data.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import polars as pl

from prefect_instances.libs.definitions.content import (
    conform,
    content_hash,
    decode_schema,
    encode_schema,
    extend_hash,
    schema_hash,
)
from prefect_instances.libs.definitions.store import (
    LocationRefused,
    StoredVersion,
    StoreHandle,
    VersionLost,
)

MANY_PARTS = 64
"""Number of parts at which a write merges them into one, so that reading stays fast."""

_LOCATION = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\Z")


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """The record of one version; the last of ``parts`` is its own part, if it added rows.

    ``schema`` holds column names and types by the names of ``libs.definitions.content``.
    """

    location: str
    parts: tuple[str, ...]
    rows: int
    min_date: date | None
    max_date: date | None
    content_hash: str
    schema: tuple[tuple[str, str], ...]

    @property
    def frame_schema(self) -> pl.Schema:
        """Return the columns of the version and their types."""
        return decode_schema(self.schema)

    @property
    def version(self) -> StoredVersion:
        """Return the stored version, as ``write`` returns it."""
        hashed = schema_hash(self.frame_schema)
        return StoredVersion(self.location, self.rows, self.min_date, self.max_date, hashed)


class PartsHandle(StoreHandle):
    """The contract of ``StoreHandle``, based on six operations on manifests and parts."""

    @abstractmethod
    def _load(self, location: str) -> VersionManifest | None:
        """Return the manifest of a version, None if missing; raise ``VersionLost`` if invalid."""

    @abstractmethod
    def _save(self, manifest: VersionManifest, part: pl.DataFrame | None) -> None:
        """Store ``part``, if not None, as the last of the parts; then the manifest."""

    @abstractmethod
    def _lost(self, manifest: VersionManifest) -> Sequence[str]:
        """Return the missing parts of a version."""

    @abstractmethod
    def _read(self, manifest: VersionManifest) -> pl.LazyFrame:
        """Return the rows of a version whose parts are all there."""

    @abstractmethod
    def _old_and_young(self) -> tuple[list[str], list[VersionManifest]]:
        """Return locations of versions old enough to sweep, and manifests of the other ones."""

    @abstractmethod
    def _remove(self, versions: Collection[str], needed: Collection[str]) -> int:
        """Remove those versions, and every old part that is not needed; return the count."""

    def write(self, frame: pl.DataFrame, token: UUID, base: str | None) -> StoredVersion:
        """See ``StoreHandle.write``; shares the parts of ``base`` if it only extends that."""
        whole = conform(frame)
        before = self._extensible(base)
        if before is None or list(before.schema) != [*encode_schema(whole.schema)]:
            return self._make(token, content_hash(whole), whole, None)
        newest = pl.lit(before.max_date)
        later = whole.filter(pl.col("date") > newest)
        known = content_hash(whole.filter(pl.col("date") <= newest))
        digest = extend_hash(known, later)
        return self._make(
            token,
            digest,
            later if known == before.content_hash else whole,
            before if known == before.content_hash else None,
        )

    def append(self, frame: pl.DataFrame, token: UUID, base: str) -> StoredVersion:
        """See ``StoreHandle.append``; does not read ``base`` if it can extend it."""
        later, before = conform(frame), self._extensible(base)
        if before is None:
            return super().append(later, token, base)
        first = later["date"].min()
        if isinstance(first, date) and before.max_date is not None and first <= before.max_date:
            message = (
                f"rows to append begin on {first}, but the stored rows end on {before.max_date}"
            )
            raise ValueError(message)
        later = later.select(name for name, _ in before.schema)
        return self._make(token, extend_hash(before.content_hash, later), later, before)

    def scan(self, location: str) -> pl.LazyFrame:
        """See ``StoreHandle.scan``."""
        manifest = self._load(check_location(location))
        if manifest is None:
            raise VersionLost(location, "it is not stored here")
        lost = self._lost(manifest)
        if lost:
            raise VersionLost(location, f"{len(lost)} of {len(manifest.parts)} parts are missing")
        return self._read(manifest)

    def sweep(self, keep: Collection[str]) -> int:
        """See ``StoreHandle.sweep``; unused files are removed at the configured age."""
        kept = [self._load(check_location(location)) for location in keep]
        old, young = self._old_and_young()
        needed = {part for item in (*kept, *young) if item is not None for part in item.parts}
        return self._remove([location for location in old if location not in set(keep)], needed)

    def _extensible(self, base: str | None) -> VersionManifest | None:
        """Return the manifest of ``base`` if a version may share its parts."""
        found = self._load(base) if base is not None and _LOCATION.match(base) else None
        if found is None or not found.rows or len(found.parts) >= MANY_PARTS or self._lost(found):
            return None
        return found

    def _make(
        self, token: UUID, digest: str, part: pl.DataFrame, before: VersionManifest | None
    ) -> StoredVersion:
        """Return the version of ``before`` plus ``part``; write it unless this token did."""
        location = f"{token.hex}-{digest[:16]}"
        made = self._load(location)
        if made is None or self._lost(made):
            own = location if before is None else f"{token.hex}-{content_hash(part)[:16]}"
            made = _manifest(location, digest, own, part, before)
            self._save(made, part if own in made.parts else None)
        return made.version


def check_location(location: str) -> str:
    """Return ``location``; raise ``LocationRefused`` if it is not valid."""
    if not _LOCATION.match(location):
        raise LocationRefused(location, "it must be '<token>-<hash>'")
    return location


def valid_parts(parts: Iterable[str]) -> bool:
    """Return True if these may be parts of a version, so that none leads out of the store."""
    return all(_LOCATION.match(part) for part in parts)


def _manifest(
    location: str, digest: str, own: str, part: pl.DataFrame, before: VersionManifest | None
) -> VersionManifest:
    first, last = part.select(first=pl.col("date").min(), last=pl.col("date").max()).row(0)
    if before is None:
        schema = tuple(encode_schema(part.schema))
        return VersionManifest(location, (own,), part.height, first, last, digest, schema)
    return VersionManifest(
        location,
        (*before.parts, own) if part.height else before.parts,
        before.rows + part.height,
        before.min_date,
        last or before.max_date,
        digest,
        before.schema,
    )
