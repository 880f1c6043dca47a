"""What an idempotent call found or did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Change(StrEnum):
    """Whether something had to be made, changed or deleted, or was there as wanted."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class EnsureResult:
    """The id of what is now there as wanted, and what it took."""

    id: UUID
    change: Change

    @property
    def created(self) -> bool:
        """It was not there before."""
        return self.change is Change.CREATED

    @property
    def updated(self) -> bool:
        """It was there, but different."""
        return self.change is Change.UPDATED

    @property
    def unchanged(self) -> bool:
        """Nothing was written."""
        return self.change is Change.UNCHANGED
