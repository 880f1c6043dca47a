"""The result of an idempotent call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Change(StrEnum):
    """Whether an object was created, changed, deleted, or already as wanted."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class EnsureResult:
    """The id of the object that is now as wanted, and the change that it took."""

    id: UUID
    change: Change

    @property
    def created(self) -> bool:
        """Return True if it did not exist before."""
        return self.change is Change.CREATED

    @property
    def updated(self) -> bool:
        """Return True if it existed, but differed."""
        return self.change is Change.UPDATED

    @property
    def unchanged(self) -> bool:
        """Return True if nothing was written."""
        return self.change is Change.UNCHANGED
