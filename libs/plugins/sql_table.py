"""Store ``sql_table``: versions of a dataset in tables of a SQL database.

A table ``instances_<key>_<columns>`` holds the rows of all versions that have the same columns;
its column ``instances_part`` says which write brought a row. The table ``instances_versions``
has a row for each version that names its parts, so ``... WHERE instances_part IN (...)`` is a
version in plain SQL. Rows and the version that they make are committed together.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import TypeDecorator, UserDefinedType

from prefect_instances.libs.db.types import UtcDateTime
from prefect_instances.libs.definitions.store import Store
from prefect_instances.libs.plugins.parts import PartsHandle, VersionManifest
from prefect_instances.libs.plugins.sql_blocks import open_engine, translate_sql_errors

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect, Engine

PART = "instances_part"
CHUNK = 10_000
"""Maximum rows of one insert."""


class SqlTableStore(Store):
    """Versioned frames in tables of a SQL database, by default a SQLite file of their own."""

    name = "sql_table"
    version = "1.0.0"
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.plugins.parts",
        "prefect_instances.libs.plugins.sql_blocks",
    )

    class Config(Store.Config):
        """Parameters of the store."""

        block: str = Field(
            default="",
            description="Prefect block sqlalchemy-connector/NAME of the database; empty: SQLite.",
        )
        database_schema: str = Field(
            default="", description="Schema for the tables; empty: the database's default one."
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

    def open(self, root: Path) -> SqlTableHandle:
        """Return the versions of ``root``: a key in the database, or a file below it."""
        path = root.resolve()
        engine = open_engine(self.config.block) if self.config.block else _own_file(path)
        after = timedelta(hours=self.config.sweep_after_hours)
        return SqlTableHandle(engine, path, self.config.database_schema or None, after)


class _Real(UserDefinedType[Any]):
    """SQLite's REAL, which stores a text that is not a number unchanged."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "REAL"


class Double(TypeDecorator[float]):
    """A double that distinguishes NaN from null: SQLite has no NaN and stores a text for it."""

    impl = sa.Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the column type of the database."""
        return dialect.type_descriptor(_Real() if dialect.name == "sqlite" else sa.Double())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        """Return the value to store: for SQLite the text ``NaN`` in place of NaN."""
        is_nan = dialect.name == "sqlite" and value is not None and math.isnan(value)
        return "NaN" if is_nan else value

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:  # noqa: ARG002  # signature of the base
        """Convert the driver's value to a float."""
        return None if value is None else float(value)


_TYPES: dict[str, Any] = {
    "bool": sa.Boolean(),
    "i8": sa.SmallInteger(),
    "i16": sa.SmallInteger(),
    "i32": sa.Integer(),
    "i64": sa.BigInteger(),
    "f32": Double(),
    "f64": Double(),
    "str": sa.Text(),
    "date": sa.Date(),
    "us": sa.DateTime(),
    "us-utc": UtcDateTime(),
}


class SqlTableHandle(PartsHandle):
    """The rows of ``instances_versions`` with one key, and the tables that they name."""

    def __init__(
        self, engine: Engine, root: Path, schema: str | None, sweep_after: timedelta
    ) -> None:
        self._engine, self._root, self._sweep_after = engine, root, sweep_after
        self._is_made = False
        # The last two steps are ids: they do not change if the home is moved.
        self._key = hashlib.sha256("/".join(root.parts[-2:]).encode()).hexdigest()[:16]
        self._metadata = sa.MetaData(schema=schema)
        self._versions = sa.Table(
            "instances_versions",
            self._metadata,
            sa.Column("key", sa.String(16), primary_key=True),
            sa.Column("location", sa.String(60), primary_key=True),
            sa.Column("parts", sa.JSON, nullable=False),
            sa.Column("rows", sa.BigInteger, nullable=False),
            sa.Column("min_date", sa.Date),
            sa.Column("max_date", sa.Date),
            sa.Column("content_hash", sa.String(64), nullable=False),
            sa.Column("schema", sa.JSON, nullable=False),
            sa.Column("created_at", UtcDateTime, nullable=False),
        )

    def purge(self) -> None:
        """See ``StoreHandle.purge``."""
        gone = sa.delete(self._versions).where(self._versions.c.key == self._key)
        with self._errors():
            if self._exists():
                tables = self._tables()
                with self._engine.begin() as connection:
                    connection.execute(gone)
                    for name in tables:
                        sa.Table(name, sa.MetaData(schema=self._metadata.schema)).drop(connection)
        if self._root.exists():
            shutil.rmtree(self._root)

    def _load(self, location: str) -> VersionManifest | None:
        found = self._manifests(self._versions.c.location == location)
        return found[0] if found else None

    def _save(self, manifest: VersionManifest, part: pl.DataFrame | None) -> None:
        with self._errors():
            table = self._table(manifest)
            self._create(self._versions, table)
            with self._engine.begin() as connection:
                if part is not None:
                    mine = table.c[PART] == manifest.parts[-1]
                    connection.execute(sa.delete(table).where(mine))
                    _insert(connection, table, manifest, part)
                versions = self._versions
                old = (versions.c.key == self._key) & (versions.c.location == manifest.location)
                connection.execute(sa.delete(versions).where(old))
                connection.execute(sa.insert(versions).values(self._row(manifest)))

    def _lost(self, manifest: VersionManifest) -> Sequence[str]:
        table = self._table(manifest)
        with self._errors():
            if not sa.inspect(self._engine).has_table(table.name, table.schema):
                return manifest.parts if manifest.rows else ()
            with self._engine.connect() as connection:
                mine = table.c[PART].in_(manifest.parts)
                there = set(connection.scalars(sa.select(table.c[PART]).where(mine).distinct()))
        return [part for part in manifest.parts if part not in there] if manifest.rows else ()

    def _read(self, manifest: VersionManifest) -> pl.LazyFrame:
        """Return a lazy frame that reads only the needed columns, and only when collected."""
        from polars.io.plugins import register_io_source

        schema = manifest.frame_schema

        def rows(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            batch_size: int | None,  # noqa: ARG001  # signature of polars
        ) -> Iterator[pl.DataFrame]:
            names = list(schema) if with_columns is None else with_columns
            frame = self._fetched(manifest, names, n_rows if predicate is None else None)
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame if n_rows is None else frame.head(n_rows)

        return register_io_source(rows, schema=schema)

    def _old_and_young(self) -> tuple[list[str], list[VersionManifest]]:
        limit = self._versions.c.created_at <= datetime.now(UTC) - self._sweep_after
        old = [manifest.location for manifest in self._manifests(limit)]
        return old, self._manifests(~limit)

    def _remove(self, versions: Collection[str], needed: Collection[str]) -> int:
        if not versions:
            return 0
        removed, mine = 0, self._versions.c.key == self._key
        gone = sa.delete(self._versions).where(mine, self._versions.c.location.in_(versions))
        with self._errors():
            tables = self._tables()
            with self._engine.begin() as connection:
                removed += connection.execute(gone).rowcount
                for name in tables:
                    table = sa.table(name, sa.column(PART), schema=self._metadata.schema)
                    parts = set(connection.scalars(sa.select(table.c[PART]).distinct()))
                    lost = sa.delete(table).where(table.c[PART].in_(parts - set(needed)))
                    removed += connection.execute(lost).rowcount
        return removed

    def _manifests(self, *where: Any) -> list[VersionManifest]:
        columns = [self._versions.c[name] for name in VersionManifest.__dataclass_fields__]
        query = sa.select(*columns).where(self._versions.c.key == self._key, *where)
        with self._errors():
            if not self._exists():
                return []
            with self._engine.connect() as connection:
                found = [dict(row) for row in connection.execute(query).mappings()]
        return [
            VersionManifest(
                **{
                    **row,
                    "parts": tuple(row["parts"]),
                    "schema": tuple((name, tag) for name, tag in row["schema"]),
                }
            )
            for row in found
        ]

    def _row(self, manifest: VersionManifest) -> dict[str, Any]:
        fields = {name: getattr(manifest, name) for name in VersionManifest.__dataclass_fields__}
        lists = {"parts": list(manifest.parts), "schema": [list(pair) for pair in manifest.schema]}
        return {**fields, **lists, "key": self._key, "created_at": datetime.now(UTC)}

    def _fetched(
        self, manifest: VersionManifest, names: list[str], limit: int | None
    ) -> pl.DataFrame:
        table, schema = self._table(manifest), manifest.frame_schema
        columns = [table.c[f"c{list(schema).index(name)}"] for name in names]
        mine = table.c[PART].in_(manifest.parts)
        # Keep the part column even if no column is wanted: then only the number of rows counts.
        query = sa.select(*(columns or [table.c[PART]])).where(mine).limit(limit)
        with self._errors(), self._engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        wanted = {name: schema[name] for name in names} or {PART: pl.String()}
        return pl.DataFrame(found, schema=wanted, orient="row").select(names)

    def _table(self, manifest: VersionManifest) -> sa.Table:
        """Return the table for the columns of ``manifest``, which are keyed ``c0``, ``c1``, ..."""
        columns = hashlib.sha256(repr(manifest.schema).encode()).hexdigest()[:12]
        return sa.Table(
            f"instances_{self._key}_{columns}",
            sa.MetaData(schema=self._metadata.schema),
            sa.Column(PART, sa.String(60), nullable=False, index=True),
            *(
                sa.Column(quoted_name(name, quote=True), _TYPES[tag], key=f"c{at}")
                for at, (name, tag) in enumerate(manifest.schema)
            ),
        )

    def _tables(self) -> list[str]:
        prefix = f"instances_{self._key}_"
        names = sa.inspect(self._engine).get_table_names(self._metadata.schema)
        return [name for name in names if name.startswith(prefix)]

    def _exists(self) -> bool:
        if self._engine.dialect.name == "sqlite" and not _file_exists(self._engine):
            return False
        if not self._is_made:
            versions, schema = self._versions.name, self._versions.schema
            self._is_made = sa.inspect(self._engine).has_table(versions, schema)
        return self._is_made

    def _create(self, *tables: sa.Table) -> None:
        """Create missing tables; if another writer creates one first, use that."""
        if self._engine.dialect.name == "sqlite" and self._engine.url.database:
            Path(self._engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        for table in tables:
            try:
                table.create(self._engine, checkfirst=True)
            except DBAPIError:
                table.create(self._engine, checkfirst=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with translate_sql_errors(f"the database {self._engine.url.database or ''!r} of the store"):
            yield


def _insert(
    connection: Connection, table: sa.Table, manifest: VersionManifest, part: pl.DataFrame
) -> None:
    keys = [PART, *(f"c{at}" for at in range(len(manifest.schema)))]
    ordered = part.select(name for name, _ in manifest.schema)
    for chunk in ordered.iter_slices(CHUNK):
        rows = [dict(zip(keys, (manifest.parts[-1], *row), strict=True)) for row in chunk.rows()]
        connection.execute(sa.insert(table), rows)


def _own_file(root: Path) -> Engine:
    from sqlalchemy.pool import NullPool

    path = root / "versions.db"
    return sa.create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 30})


def _file_exists(engine: Engine) -> bool:
    name = engine.url.database
    return bool(name) and Path(str(name)).exists()
