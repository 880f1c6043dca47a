"""The published outputs of instances, as frames and as a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec, NotFound, Problem
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.db.models import DatasetVersion
from prefect_instances.libs.db.repositories.resources import Named, get_instance
from prefect_instances.libs.db.repositories.versions import select_current_output, select_outputs
from prefect_instances.libs.definitions.accessor import Query
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.services.composition.components import open_version
from prefect_instances.libs.services.state.context import Services

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class OutputVersion:
    """One published output: its number, its id, and what it holds.

    ``generation`` counts from 1. ``first`` and ``last`` are the first and the last date of its
    rows, None if it has none. ``published_at`` is aware UTC.
    """

    generation: int
    id: UUID
    rows: int
    first: date | None
    last: date | None
    columns: tuple[str, ...]
    published_at: datetime


def read_output(
    services: Services, name: str, query: Query, version: int | str | None = None
) -> pl.LazyFrame:
    """Return the rows of an instance's output, as its accessor shows them; nothing is read yet.

    ``version`` is a generation or the id of a version; None means the current one. The frame is
    long: date, symbol, and one column for each field. Raises NotFound for an unknown name or
    version and where nothing is published, InvalidSpec for unknown symbols, DataRejected for an
    unknown column.
    """
    with services.database.read() as session:
        named = get_instance(session, name)
        found = choose_version(session, named, version)
        reader = open_version(services, session, found)
        # Opened once: a store reads the log of a table each time.
        stored = reader.store.scan(reader.location)
        if query.symbols is not None:
            _require_symbols(stored, found.max_date, query.symbols)
        return reader.accessor.read(stored, query)


def _require_symbols(frame: pl.LazyFrame, last: date | None, asked: Sequence[str]) -> None:
    """Raise InvalidSpec with every symbol that the frame does not have, and the nearest ones.

    The last date is read first: nearly always it has them all, and its rows are few.
    """
    import polars as pl

    newest = frame.filter(pl.col("date") == pl.lit(last))
    for rows in (newest, frame):
        known = rows.select(pl.col("symbol").unique()).collect()["symbol"].to_list()
        unknown = [at for at, symbol in enumerate(asked) if symbol not in known]
        if not unknown:
            return
    raise InvalidSpec(
        Problem(f"symbols[{at}]", f"there is no {asked[at]!r}{suggest_closest(asked[at], known)}")
        for at in unknown
    )


def list_versions(services: Services, name: str) -> list[OutputVersion]:
    """List every version of an instance's output, newest first; raise NotFound for the name."""
    with services.database.read() as session:
        named = get_instance(session, name)
        found = select_outputs(session, named.id, SHAPES[named.type].output)
        return [describe(each) for each in found]


def describe(version: DatasetVersion) -> OutputVersion:
    """Describe a published version."""
    return OutputVersion(
        version.generation,
        version.id,
        version.rows,
        version.min_date,
        version.max_date,
        tuple(version.columns),
        version.created_at,
    )


def choose_version(session: Session, named: Named, version: int | str | None) -> DatasetVersion:
    """Choose a version of an instance's output by generation or id; None is the current one.

    Raises NotFound if there is none; it names the newest.
    """
    kind = SHAPES[named.type].output
    if version is None:
        current = select_current_output(session, named.id, kind)
        if current is None:
            raise NotFound("version", "current", owner=f"{named.label}: nothing is published yet")
        return current
    known = select_outputs(session, named.id, kind)
    for each in known:
        if str(version) in {str(each.generation), str(each.id)}:
            return each
    numbers = ", ".join(str(each.generation) for each in known[:10]) or "none"
    raise NotFound("version", str(version), owner=f"{named.label}, which has {numbers}")
