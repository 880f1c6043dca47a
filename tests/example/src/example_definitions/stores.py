"""A store: one Arrow file a version."""

import os
import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
from pydantic import Field

from prefect_instances import (
    LocationRefused,
    Store,
    StoredVersion,
    StoreHandle,
    Unavailable,
    VersionLost,
    conform,
    content_hash,
    schema_hash,
)

LOCATION = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")


class ArrowStore(Store):
    """Each version whole, in a file of its own that any tool reads by its memory map."""

    name, version = "arrow", "1.0.0"

    class Config(Store.Config):
        """Parameters."""

        sweep_after_hours: float = Field(
            default=24.0, ge=0, description="Younger leftovers may still be published."
        )

    config: Config

    def open(self, root: Path) -> "ArrowHandle":
        """The versions below ``root``."""
        return ArrowHandle(root, self.config.sweep_after_hours * 3600)


class ArrowHandle(StoreHandle):
    """The files below one root."""

    def __init__(self, root: Path, sweep_after_seconds: float) -> None:
        self.root, self.sweep_after = root, sweep_after_seconds

    def write(self, frame: pl.DataFrame, token: UUID, base: str | None) -> StoredVersion:
        """The name says who wrote what, so that a repeated attempt finds what it made."""
        frame = conform(frame)
        location = f"{token.hex}-{content_hash(frame)[:16]}"
        draft = self.root / f"{uuid4().hex}.draft"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                frame.write_ipc(file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path(location))  # Whole or not at all.
        except OSError as error:
            raise Unavailable("the arrow store", str(error)) from error
        first, last = frame["date"].min(), frame["date"].max()
        return StoredVersion(location, frame.height, first, last, schema_hash(frame.schema))

    def scan(self, location: str) -> pl.LazyFrame:
        """The rows of one file."""
        path = self.path(location)
        if not path.is_file():
            raise VersionLost(location, "there is no such file")
        return pl.scan_ipc(path)

    def sweep(self, keep: Collection[str]) -> int:
        """Remove files that no version needs, once their writer must have ended."""
        needed = {self.path(location) for location in keep}
        old = time.time() - self.sweep_after
        unneeded = [path for path in self.root.glob("*") if path not in needed]
        swept = [path for path in unneeded if path.stat().st_mtime <= old]
        for path in swept:
            path.unlink(missing_ok=True)
        return len(swept)

    def purge(self) -> None:
        """Remove everything below the root."""
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, location: str) -> Path:
        """The file of a version; nothing that could lead out of the root is a location."""
        if not LOCATION.fullmatch(location):
            raise LocationRefused(location, "it must be '<token>-<hash>'")
        return self.root / f"{location}.arrow"
