"""Compare two published versions of an instance's output."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import DatasetVersion
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.definitions.row_changes import RowChanges, find_row_changes
from prefect_instances.libs.services.composition.components import open_version
from prefect_instances.libs.services.rendering.tables import draw_table, format_frame
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views.outputs import OutputVersion, choose_version, describe

if TYPE_CHECKING:
    import polars as pl

SHOWN = 10
"""How many days a text shows."""


@dataclass(frozen=True)
class VersionComparison:
    """What changed from one version of an output to another.

    ``before`` and ``after`` describe the two versions. ``changes`` holds the rows: ``added``,
    ``removed``, ``changed`` and ``count_by``.
    """

    instance: str
    before: OutputVersion
    after: OutputVersion
    changes: RowChanges

    @property
    def added(self) -> pl.DataFrame:
        """Return the rows that only the later version has."""
        return self.changes.added

    @property
    def removed(self) -> pl.DataFrame:
        """Return the rows that only the earlier version has."""
        return self.changes.removed

    @property
    def changed(self) -> pl.DataFrame:
        """Return the keys of the changed rows, and in ``columns`` the fields that changed there."""
        return self.changes.changed

    @property
    def by_date(self) -> pl.DataFrame:
        """Return how many rows were added, removed and changed for each date."""
        return self.changes.count_by("date")

    @property
    def by_symbol(self) -> pl.DataFrame:
        """Return how many rows were added, removed and changed for each symbol."""
        return self.changes.count_by("symbol")

    def document(self) -> dict[str, Any]:
        """Return the comparison as ``instances compare --json`` shows it."""
        return {
            "instance": self.instance,
            "before": self.before.generation,
            "after": self.after.generation,
            "identical": self.changes.none,
            "rows_added": self.added.height,
            "rows_removed": self.removed.height,
            "rows_changed": self.changes.pairs.height,
            "columns_added": list(self.changes.columns_added),
            "columns_removed": list(self.changes.columns_removed),
            "columns_retyped": list(self.changes.retyped),
            "by_date": self.by_date.to_dicts(),
            "by_symbol": self.by_symbol.to_dicts(),
        }

    def summarise(self) -> list[str]:
        """Return the sentences that describe the comparison, one line each."""
        found = self.changes
        head = f"{self.instance}: version {self.before.generation} to {self.after.generation}"
        if found.none:
            return [f"{head}: identical"]
        rows = (
            f"{self.added.height:,} rows added, {self.removed.height:,} removed, "
            f"{found.pairs.height:,} changed"
        )
        listed = (
            ("columns added", found.columns_added),
            ("columns removed", found.columns_removed),
            ("columns with another type", found.retyped),
        )
        return [
            f"{head}: {rows}",
            *(f"{what}: {', '.join(names)}" for what, names in listed if names),
        ]

    def __repr__(self) -> str:
        days = self.by_date
        table = [format_frame(days.tail(SHOWN))] if days.height else []
        return "\n".join([*self.summarise(), *table])

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(line)}</p>" for line in self.summarise())
        if self.changes.none:
            return said
        return (
            f"{said}{draw_table('By date', self.by_date)}{draw_table('By symbol', self.by_symbol)}"
        )


def compare_versions(
    services: Services, name: str, before: int | str, after: int | str
) -> VersionComparison:
    """Compare two versions of an instance's output as they are stored.

    ``before`` and ``after`` are generations or ids of versions. Raises NotFound for an unknown name
    or version.
    """
    with services.database.read() as session:
        named = get_instance(session, name)
        found = [choose_version(session, named, version) for version in (before, after)]
        old, new = (_read_stored(services, session, version) for version in found)
    changes = find_row_changes(old.collect(), new.collect())
    return VersionComparison(named.label, describe(found[0]), describe(found[1]), changes)


def _read_stored(services: Services, session: Session, version: DatasetVersion) -> pl.LazyFrame:
    """Return every row of a version; an accessor would hide some."""
    return open_version(services, session, version).store.scan(version.location)
