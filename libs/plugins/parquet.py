"""Store ``parquet``: versions of a dataset in plain Parquet files that any tool can read.

Below the root lie ``<location>.parquet``, the rows of one write, and ``<location>.json``, which
names the files of a version. Both are created by an atomic rename.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import polars as pl
from pydantic import Field

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.places import Place, RemotePlace
from prefect_instances.libs.definitions.store import Store, VersionLost
from prefect_instances.libs.plugins.parts import PartsHandle, VersionManifest, valid_parts
from prefect_instances.libs.plugins.remote import Folder, RemoteConfig

PART, RECORD, UNFINISHED = ".parquet", ".json", ".tmp"


class ParquetStore(Store):
    """Versioned frames in plain Parquet files, in a directory or an object store."""

    name = "parquet"
    version = "1.0.0"
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.plugins.parts",
        "prefect_instances.libs.plugins.parquet_remote",
        "prefect_instances.libs.plugins.remote",
    )

    class Config(RemoteConfig):
        """Parameters of the store."""

        compression: str = Field(
            default="zstd",
            pattern="^(zstd|snappy|lz4|gzip|uncompressed)$",
            description="How the files are compressed.",
        )
        sweep_after_hours: float = Field(
            default=24.0,
            ge=0,
            description=(
                "Unpublished files younger than this are kept, because a run may still publish "
                "them."
            ),
        )

    config: Config

    def open(self, root: Path) -> ParquetHandle:
        """Return the versions below ``root``."""
        seconds = self.config.sweep_after_hours * 3600
        return ParquetHandle(root.resolve(), self.config.compression, seconds)

    def open_remote(self, root: RemotePlace) -> PartsHandle:
        """Return the versions in a folder of an object store."""
        from prefect_instances.libs.plugins.parquet_remote import RemoteParquetHandle

        seconds = self.config.sweep_after_hours * 3600
        return RemoteParquetHandle(Folder(root), self.config.compression, seconds, _manifest)

    def place(self, default: Place) -> Place:
        """See ``Store.place``."""
        return self.config.place(default)


class ParquetHandle(PartsHandle):
    """The files below one root."""

    def __init__(self, root: Path, compression: Any, sweep_after_seconds: float) -> None:
        self._root, self._compression = root, compression
        self._sweep_after = sweep_after_seconds

    def purge(self) -> None:
        """See ``StoreHandle.purge``."""
        with _storage_errors():
            if self._root.exists():
                shutil.rmtree(self._root)

    def _load(self, location: str) -> VersionManifest | None:
        try:
            return _manifest(json.loads(self._path(location, RECORD).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable("the parquet store", _line(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise VersionLost(location, f"its record is damaged ({_line(error)})") from error

    def _save(self, manifest: VersionManifest, part: pl.DataFrame | None) -> None:
        with _storage_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            if part is not None:
                with self._renamed(self._path(manifest.parts[-1], PART)) as path:
                    part.write_parquet(path, compression=self._compression)
            with self._renamed(self._path(manifest.location, RECORD)) as path:
                path.write_text(json.dumps(asdict(manifest), default=str), encoding="utf-8")

    def _lost(self, manifest: VersionManifest) -> Sequence[str]:
        return [part for part in manifest.parts if not _is_plain_file(self._path(part, PART))]

    def _read(self, manifest: VersionManifest) -> pl.LazyFrame:
        paths = [self._path(part, PART) for part in manifest.parts]
        return pl.scan_parquet(paths, glob=False)

    def _old_and_young(self) -> tuple[list[str], list[VersionManifest]]:
        old: list[str] = []
        young: list[VersionManifest] = []
        for path in self._root.glob("*" + RECORD):
            if self._is_old(path):
                old.append(path.stem)
            elif (manifest := self._load(path.stem)) is not None:
                young.append(manifest)
        return old, young

    def _remove(self, versions: Collection[str], needed: Collection[str]) -> int:
        leftovers = [self._path(location, RECORD) for location in versions]
        parts = (path for path in self._root.glob("*" + PART) if path.stem not in needed)
        unfinished = self._root.glob("*" + UNFINISHED)
        leftovers += [path for path in (*parts, *unfinished) if self._is_old(path)]
        with _storage_errors():
            for path in leftovers:
                path.unlink(missing_ok=True)
        return len(leftovers)

    def _path(self, location: str, suffix: str) -> Path:
        return self._root / f"{location}{suffix}"

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime <= time.time() - self._sweep_after
        except FileNotFoundError:
            return False

    @contextmanager
    def _renamed(self, path: Path) -> Iterator[Path]:
        """Yield a temporary file beside ``path``; rename it once it is safely on the disk."""
        draft = path.with_name(f"{path.name}.{uuid4().hex}{UNFINISHED}")
        try:
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            # Remove the remains of a failed write: they would keep a full disk full.
            draft.unlink(missing_ok=True)


def _manifest(document: dict[str, Any]) -> VersionManifest:
    parts = tuple(document["parts"])
    if not valid_parts(parts):
        raise ValueError("it names a file that is not a part")
    days = {name: document[name] for name in ("min_date", "max_date")}
    return VersionManifest(
        **{
            **document,
            "parts": parts,
            "schema": tuple((name, tag) for name, tag in document["schema"]),
            **{name: day and date.fromisoformat(day) for name, day in days.items()},
        }
    )


def _is_plain_file(path: Path) -> bool:
    """Return True for a regular file, not a link: a link may lead out of the root."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Translate errors of the file system into this project's errors."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Unavailable("the parquet store", _line(error)) from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
