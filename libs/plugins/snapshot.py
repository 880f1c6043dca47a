"""Accessor ``snapshot``: a dataset at one version, whatever is published later."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.accessor import Accessor, Query, narrow
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE


class SnapshotAccessor(Accessor):
    """The rows of the version of that number; newer ones change nothing for a reader.

    Before that version is published there is nothing to be read.
    """

    name = "snapshot"
    version = "1.0.0"

    class Config(Accessor.Config):
        """Parameters of the accessor."""

        at: int = Field(ge=1, description="Number of the version (its generation), from 1 on.")

    config: Config

    def generation(self, pinned: int) -> int:
        """See ``Accessor.generation``: always the configured one."""
        if pinned < self.config.at:
            raise DataRejected(
                f"there is no version {self.config.at} yet, the newest is {pinned}",
                {"at": self.config.at, "newest": pinned},
            )
        return self.config.at

    def read(self, frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
        """See ``Accessor.read``; limits by knowledge time are the task of ``point_in_time``."""
        if query.knowledge_time is not None:
            raise DataRejected(
                "accessor 'snapshot' cannot read data as known at a time; use 'point_in_time'",
                {"accessor": self.name},
            )
        return narrow(frame, query, (*KEYS, KNOWLEDGE))
