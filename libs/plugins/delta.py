"""Store ``delta``: versions of a dataset in one Delta Lake table.

A version of the dataset is a version of the table. Commits are compare-and-set: each is built on
the newest table version and is allowed no retry, because a retry inside ``deltalake`` would rebase
it silently (an append would take in the rows of an unpublished write, an overwrite would leave
those of a concurrent one). If another process committed first, the write starts over.
"""

from __future__ import annotations

import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote
from uuid import UUID

import polars as pl
from pydantic import Field

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.places import Place, RemotePlace
from prefect_instances.libs.definitions.content import conform, schema_hash
from prefect_instances.libs.definitions.store import (
    LocationRefused,
    Store,
    StoredVersion,
    StoreHandle,
    VersionLost,
)
from prefect_instances.libs.plugins.delta_log import needed_files
from prefect_instances.libs.plugins.remote import Folder, RemoteConfig

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

ATTEMPTS = 20
"""Maximum attempts of a write while other processes commit first."""

MANY_FILES = 64
"""Number of files at which an append becomes a rewrite, so that reading stays fast."""

_UNWORKABLE = frozenset("%[]\\^|")
"""Characters in a path that deltalake decodes twice or panics on."""

_LOCATION = re.compile(r"(?P<table>[0-9a-f-]{36})\.v(?P<number>0|[1-9][0-9]{0,17})\Z")

_TABLE_CONFIGURATION: dict[str, str | None] = {
    # Opening a table reads every commit since the last checkpoint.
    "delta.checkpointInterval": "20",
    # A version must stay readable: ``sweep`` removes files, not Delta's retention time.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


class DeltaStore(Store):
    """Versioned frames in a Delta Lake table, in a directory or an object store."""

    name = "delta"
    version = "1.0.0"
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.plugins.delta_log",
        "prefect_instances.libs.plugins.remote",
    )

    class Config(RemoteConfig):
        """Parameters of the store."""

        sweep_after_hours: float = Field(
            default=24.0,
            ge=0,
            description=(
                "Unpublished files younger than this are kept, because a run may still publish "
                "them."
            ),
        )

    config: Config

    def open(self, root: Path) -> DeltaHandle:
        """Return the versions below ``root``; reject paths that Delta Lake does not support."""
        absolute = root.resolve()
        bad = sorted({c for c in str(absolute) if c in _UNWORKABLE or not c.isprintable()})
        if bad:
            raise LocationRefused(str(root), f"Delta Lake cannot work with {bad} in a path")
        return DeltaHandle(absolute, self.config.sweep_after_hours * 3600)

    def open_remote(self, root: RemotePlace) -> DeltaHandle:
        """Return the versions in a folder of an object store."""
        return RemoteDeltaHandle(Folder(root), self.config.sweep_after_hours * 3600)

    def place(self, default: Place) -> Place:
        """See ``Store.place``."""
        return self.config.place(default)


@dataclass(frozen=True, slots=True)
class _Change:
    """A commit's change to the newest version: add ``rows`` to it, or replace it by them."""

    rows: pl.DataFrame
    extends: bool


class DeltaHandle(StoreHandle):
    """The table below one root; a location is ``<table id>.v<table version>``.

    The table's id is part of it, so that a location from before a purge never reads data written
    afterwards.
    """

    def __init__(self, root: Path, sweep_after_seconds: float) -> None:
        self._root = root
        self._address: str | Path = root
        self._options: dict[str, str] | None = None
        self._sweep_after = sweep_after_seconds

    def write(self, frame: pl.DataFrame, token: UUID, base: str | None) -> StoredVersion:
        """See ``StoreHandle.write``; appends if ``frame`` only extends ``base``."""
        whole = conform(frame)
        for _ in range(ATTEMPTS):
            table = self._newest()
            location = self._made_before(table, token, whole)
            if location is None:
                location = self._commit(table, self._change(table, whole, base), token)
            if location is not None:
                return _stored(location, whole)
        raise Unavailable(
            "the delta store",
            f"{ATTEMPTS} attempts to write failed because other processes wrote first",
        )

    def append(self, frame: pl.DataFrame, token: UUID, base: str) -> StoredVersion:
        """See ``StoreHandle.append``; if the table can be extended, ``base`` is not read."""
        later = conform(frame)
        table = self._newest()
        if not later.height or table is None or not self._extensible(table, base):
            return super().append(later, token, base)
        before = _totals(table)
        _require_later(later, before.last)
        columns = [field.name for field in table.schema().fields]
        ordered = later if later.columns == columns else later.select(columns)
        location = self._commit(table, _Change(ordered, extends=True), token)
        if location is None:
            return super().append(later, token, base)
        return _extended(location, before, later)

    def scan(self, location: str) -> pl.LazyFrame:
        """See ``StoreHandle.scan``."""
        table = self._at(location)
        names = _file_names(table)
        lost = self._lost(names)
        if lost:
            raise VersionLost(location, f"{len(lost)} of {len(names)} data files are missing")
        if not names:
            return pl.LazyFrame(schema=pl.Schema(table.schema().to_arrow()))
        return self._frame(names)

    def sweep(self, keep: Collection[str]) -> int:
        """See ``StoreHandle.sweep``; unused files are removed at the configured age."""
        needed = needed_files(self._commits(), sorted(self._numbers(keep)))
        return 0 if needed is None else self._remove_unneeded(needed)

    def purge(self) -> None:
        """See ``StoreHandle.purge``."""
        if self._root.exists():
            shutil.rmtree(self._root)

    def _newest(self) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with self._storage_errors():
            try:
                return DeltaTable(self._address, storage_options=self._options)
            except TableNotFoundError:
                return None

    def _at(self, location: str) -> DeltaTable:
        """Return the table at a location; raise as ``scan`` does."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        table_id, number = _parse(location)
        if not DeltaTable.is_deltatable(str(self._address), self._options):
            raise VersionLost(location, "nothing is stored here")
        try:
            table = DeltaTable(self._address, version=number, storage_options=self._options)
        except DeltaError as error:
            raise VersionLost(location, _first_line(error)) from error
        if str(table.metadata().id) != table_id:
            raise VersionLost(location, "the table was deleted and created again")
        return table

    def _made_before(
        self, table: DeltaTable | None, token: UUID, whole: pl.DataFrame
    ) -> str | None:
        """Return the location that a write with this token created, if it has these rows."""
        number = None if table is None else table.transaction_version(str(token))
        if table is None or number is None:
            return None
        location = _location(table, number)
        stored = self._rows(location)
        return location if stored is not None and _same_rows(stored, whole) else None

    def _change(self, table: DeltaTable | None, whole: pl.DataFrame, base: str | None) -> _Change:
        """Return the cheapest commit after which the newest version holds exactly ``whole``."""
        rewrite = _Change(whole, extends=False)
        if table is None or base is None or not self._extensible(table, base):
            return rewrite
        stored = self._rows(base)
        if stored is None or not stored.height:
            return rewrite
        newest = pl.lit(stored.get_column("date").max())
        if not _same_rows(stored, whole.filter(pl.col("date") <= newest)):
            return rewrite
        return _Change(whole.filter(pl.col("date") > newest).select(stored.columns), extends=True)

    def _rows(self, location: str) -> pl.DataFrame | None:
        try:
            return self.scan(location).collect()
        except VersionLost:
            return None

    def _extensible(self, table: DeltaTable, base: str) -> bool:
        """Return True if ``base`` is the newest version and does not have too many files."""
        is_newest = base == _location(table, table.version())
        return is_newest and len(table.file_uris()) < MANY_FILES

    def _commit(self, table: DeltaTable | None, change: _Change, token: UUID) -> str | None:
        """Commit ``change`` as the next version; return its location, None if others were first."""
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError

        number = 0 if table is None else table.version() + 1
        properties = CommitProperties(
            custom_metadata={"token": str(token)},
            max_commit_retries=0,
            app_transactions=[Transaction(str(token), number)],
        )
        try:
            with self._storage_errors():
                made = self._put(table, change, properties)
        except CommitFailedError:
            return None
        if made is None or made.version() != number:
            return None
        return _location(made, number)

    def _put(
        self, table: DeltaTable | None, change: _Change, properties: CommitProperties
    ) -> DeltaTable | None:
        """Write and commit; return the table at its new version, ``None`` if others were first."""
        from deltalake import DeltaTable, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        if table is None:
            try:
                write_deltalake(
                    self._address,
                    change.rows,
                    mode="error",
                    storage_options=self._options,
                    configuration=_TABLE_CONFIGURATION,
                    commit_properties=properties,
                )
            except CommitFailedError:
                raise
            except DeltaError:
                if DeltaTable.is_deltatable(str(self._address), self._options):
                    return None
                raise
            return DeltaTable(self._address, version=0, storage_options=self._options)
        if change.extends:
            write_deltalake(table, change.rows, mode="append", commit_properties=properties)
        else:
            write_deltalake(
                table,
                change.rows,
                mode="overwrite",
                schema_mode="overwrite",
                commit_properties=properties,
            )
        return table

    def _numbers(self, locations: Collection[str]) -> Iterator[int]:
        """Yield the table versions of those locations that are in the present table."""
        table = self._newest()
        for location in locations:
            table_id, number = _parse(location)
            if table is not None and table_id == str(table.metadata().id):
                yield number

    def _lost(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not _is_plain_file(self._root / name)]

    def _frame(self, names: Sequence[str]) -> pl.LazyFrame:
        # Not pl.scan_delta: it looks for URL-encoded file names if the path contains a blank.
        return pl.scan_parquet([self._root / name for name in names], glob=False)

    def _commits(self) -> list[tuple[int, str]]:
        """Return the number and the text of every commit, ascending."""
        paths = sorted((self._root / "_delta_log").glob("[0-9]*.json"))
        return [(int(path.stem), path.read_text(encoding="utf-8")) for path in paths]

    def _remove_unneeded(self, needed: set[str]) -> int:
        leftovers = list(self._leftovers(needed))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def _leftovers(self, needed: Collection[str]) -> Iterator[Path]:
        """Yield unneeded files that are too old to belong to a running write."""
        oldest = time.time() - self._sweep_after
        unfinished = self._root.glob("_delta_log/*.tmp")
        for path in [*self._root.glob("*.parquet"), *unfinished]:
            if path.name not in needed and path.stat().st_mtime <= oldest:
                yield path

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Translate errors of deltalake and the storage, except lost races, into this project's."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> Exception:
        return Unavailable("the delta store", _first_line(error))


class RemoteDeltaHandle(DeltaHandle):
    """The table in one folder of an object store."""

    def __init__(self, folder: Folder, sweep_after_seconds: float) -> None:
        self._folder, self._sweep_after = folder, sweep_after_seconds
        self._address, self._options = folder.url, folder.options

    def check(self) -> None:
        """See ``StoreHandle.check``."""
        self._folder.probe()

    def purge(self) -> None:
        """See ``StoreHandle.purge``."""
        self._folder.remove(list(self._folder.names()))

    def _newest(self) -> DeltaTable | None:
        # deltalake takes a bucket that does not exist for an empty one.
        self._folder.check()
        return super()._newest()

    def _at(self, location: str) -> DeltaTable:
        with self._folder.errors():
            return super()._at(location)

    def _lost(self, names: Sequence[str]) -> list[str]:
        there = self._folder.names()
        return [name for name in names if name not in there]

    def _frame(self, names: Sequence[str]) -> pl.LazyFrame:
        urls = self._folder.urls(names)
        return pl.scan_parquet(urls, glob=False, storage_options=self._options)

    def _commits(self) -> list[tuple[int, str]]:
        names = [one for one in self._folder.names("_delta_log") if _is_commit(one)]
        found = [(int(one.split("/")[-1][:-5]), self._folder.read(one)) for one in sorted(names)]
        return [(number, data.decode()) for number, data in found if data is not None]

    def _remove_unneeded(self, needed: set[str]) -> int:
        oldest = datetime.now(UTC) - timedelta(seconds=self._sweep_after)
        leftovers = [
            name
            for name, changed in self._folder.names().items()
            if "/" not in name
            and name.endswith(".parquet")
            and name not in needed
            and changed <= oldest
        ]
        self._folder.remove(leftovers)
        return len(leftovers)

    def _explain(self, error: Exception) -> Exception:
        return self._folder.unavailable(error)


def _is_commit(name: str) -> bool:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return name.endswith(".json") and stem.isdigit()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _parse(location: str) -> tuple[str, int]:
    match = _LOCATION.match(location)
    if match is None:
        raise LocationRefused(location, "it must be '<table id>.v<number>'")
    return match["table"], int(match["number"])


def _location(table: DeltaTable, number: int) -> str:
    return f"{table.metadata().id}.v{number}"


def _file_names(table: DeltaTable) -> list[str]:
    """Return the names of the data files; without partitions they are all in the root itself."""
    return [unquote(uri.rsplit("/", 1)[-1]) for uri in table.file_uris()]


def _is_plain_file(path: Path) -> bool:
    """Return True for a regular file, not a link: a link may lead out of the root."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _same_rows(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Return True if two frames hold the same data, in any order of rows and columns."""
    if dict(one.schema) != dict(other.schema):
        return False
    return conform(one.select(other.columns)).equals(conform(other))


def _stored(location: str, rows: pl.DataFrame) -> StoredVersion:
    return StoredVersion(location, rows.height, *_dates(rows), schema_hash(rows.schema))


def _dates(rows: pl.DataFrame) -> tuple[Any, Any]:
    """Return the first and the last date; None for both if there is no row."""
    dates = rows.get_column("date")
    return dates.min(), dates.max()


@dataclass(frozen=True, slots=True)
class _Totals:
    rows: int
    first: date | None
    last: date | None


def _totals(table: DeltaTable) -> _Totals:
    """Return the row count and date range of a version, read from its log alone."""
    actions = table.get_add_actions(flatten=True)
    if not actions.num_rows:
        return _Totals(0, None, None)
    names = ["num_records", "min.date", "max.date"]
    columns: list[Any] = pl.DataFrame(actions.select(names)).get_columns()
    rows, first, last = columns
    return _Totals(rows.sum(), first.min(), last.max())


def _require_later(rows: pl.DataFrame, last: date | None) -> None:
    first, _ = _dates(rows)
    if last is not None and first <= last:
        raise ValueError(f"rows to append begin on {first}, but the stored rows end on {last}")


def _extended(location: str, before: _Totals, later: pl.DataFrame) -> StoredVersion:
    added = _stored(location, later)
    return StoredVersion(
        location,
        before.rows + added.rows,
        before.first or added.min_date,
        added.max_date,
        added.schema_hash,
    )
