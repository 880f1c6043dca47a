"""Versions of store ``parquet`` in an object store; the same names as in a directory.

A record is put only if there is none of its name: of two writers, one makes the version.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from prefect_instances.libs.definitions.store import VersionLost, VersionTaken
from prefect_instances.libs.plugins.parts import PartsHandle, VersionManifest
from prefect_instances.libs.plugins.remote import Folder

PART, RECORD = ".parquet", ".json"


class RemoteParquetHandle(PartsHandle):
    """The objects of one folder; ``parse`` makes a manifest from the document of a record."""

    def __init__(
        self,
        folder: Folder,
        compression: Any,
        sweep_after_seconds: float,
        parse: Callable[[dict[str, Any]], VersionManifest],
    ) -> None:
        self._folder, self._compression, self._parse = folder, compression, parse
        self._sweep_after = timedelta(seconds=sweep_after_seconds)

    def check(self) -> None:
        """See ``StoreHandle.check``."""
        self._folder.probe()

    def purge(self) -> None:
        """See ``StoreHandle.purge``."""
        self._folder.remove(list(self._folder.names()))

    def _load(self, location: str) -> VersionManifest | None:
        found = self._folder.read(location + RECORD)
        try:
            return None if found is None else self._parse(json.loads(found))
        except (ValueError, KeyError, TypeError) as error:
            raise VersionLost(location, "its record is damaged") from error

    def _save(self, manifest: VersionManifest, part: pl.DataFrame | None) -> None:
        if part is not None:
            data = io.BytesIO()
            part.write_parquet(data, compression=self._compression)
            self._folder.put(manifest.parts[-1] + PART, data.getvalue())
        record = json.dumps(asdict(manifest), default=str).encode()
        if self._folder.put(manifest.location + RECORD, record, absent=True):
            return
        made = self._load(manifest.location)
        if made is None or made.content_hash != manifest.content_hash:
            raise VersionTaken(manifest.location)

    def _lost(self, manifest: VersionManifest) -> Sequence[str]:
        there = self._folder.names()
        return [part for part in manifest.parts if part + PART not in there]

    def _read(self, manifest: VersionManifest) -> pl.LazyFrame:
        urls = self._folder.urls([part + PART for part in manifest.parts])
        return pl.scan_parquet(urls, glob=False, storage_options=self._folder.options)

    def _old_and_young(self) -> tuple[list[str], list[VersionManifest]]:
        names = [name for name in self._folder.names() if name.endswith(RECORD)]
        old = self._old()
        locations = [name.removesuffix(RECORD) for name in names]
        young = [self._load(one) for one in locations if one + RECORD not in old]
        return (
            [one for one in locations if one + RECORD in old],
            [manifest for manifest in young if manifest is not None],
        )

    def _remove(self, versions: Collection[str], needed: Collection[str]) -> int:
        parts = (name for name in self._old() if name.endswith(PART))
        leftovers = [version + RECORD for version in versions]
        leftovers += [name for name in parts if name.removesuffix(PART) not in needed]
        self._folder.remove(leftovers)
        return len(leftovers)

    def _old(self) -> set[str]:
        oldest = datetime.now(UTC) - self._sweep_after
        return {name for name, changed in self._folder.names().items() if changed <= oldest}
