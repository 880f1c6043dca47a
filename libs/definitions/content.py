"""The data contract between instances: the shape of a frame, its hash, and how it grows.

A frame is long: ``date`` (Date), ``symbol`` (String), one column for each field, and optionally
``knowledge_time`` (Datetime, UTC), when a row became known. ``(date, symbol)``, together with
``knowledge_time`` if it is present, is unique and never null.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

import numpy as np
import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.pipeline import Extract
from prefect_instances.libs.definitions.widening import is_wider, widen

KEYS = ("date", "symbol")
KNOWLEDGE = "knowledge_time"
SAMPLE = 10
"""Maximum number of offending rows in a report."""

_UTC = pl.Datetime("us", "UTC")
_TAGS: Mapping[pl.DataType, str] = {
    pl.Boolean(): "bool",
    pl.Int8(): "i8",
    pl.Int16(): "i16",
    pl.Int32(): "i32",
    pl.Int64(): "i64",
    pl.Float32(): "f32",
    pl.Float64(): "f64",
    pl.String(): "str",
    pl.Date(): "date",
    pl.Datetime("us"): "us",
    _UTC: "us-utc",
}
"""The types that every store supports, by our own names: those of polars may change."""

_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class _Fault:
    """A violated rule: how many rows violate it, and which."""

    rule: str
    message: str
    rows: pl.DataFrame

    @property
    def count(self) -> int:
        return self.rows.height


def list_key_columns(columns: Sequence[str]) -> list[str]:
    """Return the key columns among ``columns``, in order."""
    return [key for key in (*KEYS, KNOWLEDGE) if key in columns]


def list_field_columns(columns: Sequence[str]) -> list[str]:
    """Return the field columns among ``columns``, in order."""
    return [column for column in columns if column not in (*KEYS, KNOWLEDGE)]


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same data in the canonical form that is compared, hashed and stored.

    Key columns first, rows sorted by key, types that every store supports: unsigned integers become
    Int64, decimals Float64, half-precision floats Float32, categories strings, times microseconds
    (aware ones UTC), columns without any value Float64. Raises ``DataRejected`` if a number does
    not fit. It does not check the rest of the contract: see ``check_frame``.
    """
    names = frame.columns
    keys = list_key_columns(names)
    plain = {name: (dtype, _plain_type(dtype)) for name, dtype in frame.schema.items()}
    changed = {name: to for name, (dtype, to) in plain.items() if to != dtype}
    try:
        cast = frame.cast(changed) if changed else frame  # type: ignore[arg-type]  # stubs: invariant key
    except pl.exceptions.InvalidOperationError as error:
        raise DataRejected(f"a number is too large to be stored: {error}") from error
    ordered = cast.select(*keys, *(name for name in names if name not in keys))
    return ordered.sort(keys, maintain_order=True).rechunk() if keys else ordered


def check_frame(frame: pl.DataFrame) -> None:
    """Raise ``DataRejected`` with counts and a sample if the frame violates the contract."""
    _reject_if_any(_faults(frame), frame.height)


def schema_hash(schema: Mapping[str, pl.DataType]) -> str:
    """Return the SHA-256 of the column names and types, independent of their order."""
    return hashlib.sha256(_schema_bytes(schema)).hexdigest()


def encode_schema(schema: Mapping[str, pl.DataType]) -> Iterator[tuple[str, str]]:
    """Yield column names and types as texts that do not depend on the release of polars."""
    return ((name, _TAGS[dtype]) for name, dtype in schema.items())


def decode_schema(tags: Sequence[tuple[str, str]]) -> pl.Schema:
    """Return the schema that ``encode_schema`` encoded; raise ``KeyError`` for an unknown type."""
    types = {tag: dtype for dtype, tag in _TAGS.items()}
    return pl.Schema({name: types[tag] for name, tag in tags})


def content_hash(frame: pl.DataFrame) -> str:
    """Return the hash of the data: 64 hexadecimal digits, equal for equal rows, names and types.

    The order of rows and columns and the division into chunks do not count, nor do the sign of a
    zero or the bits of a NaN; a NaN differs from a null. The same in every process, on every
    machine. ``frame`` must satisfy ``check_frame``.

    It is the SHA-256 of the schema plus those of each date's rows, added modulo 2**256, so that
    ``extend_hash`` computes it from the added rows alone. It protects against accidental
    collisions, not against forgery.
    """
    ordered = conform(frame)
    head = _schema_bytes(ordered.schema)
    return _hex(_number(hashlib.sha256(head)) + _rows_sum(ordered, head))


def extend_hash(published: str, later: pl.DataFrame) -> str:
    """Return the ``content_hash`` of a frame with hash ``published`` after adding ``later``.

    ``later`` has the same schema, and no date that the frame already has.
    """
    ordered = conform(later)
    return _hex(int(published, 16) + _rows_sum(ordered, _schema_bytes(ordered.schema)))


def merge(
    base: pl.DataFrame | None, extract: Extract, since: date | None, until: date | None = None
) -> pl.DataFrame:
    """Return the whole dataset after applying ``extract`` to the stored ``base`` (None: none).

    A complete extract replaces the whole dataset, unless ``until`` is set. Otherwise its rows
    replace the stored rows from ``since`` to ``until`` (both inclusive; ``None``: no limit on that
    side), and its rows after ``until`` are dropped. The result is in the form of ``conform``.
    Raises ``DataRejected`` if an incremental extract holds rows before ``since``, or if its columns
    or types differ from the stored ones.
    """
    if base is None or (until is None and (extract.complete or since is None)):
        return _up_to(conform(extract.frame), until)
    stored = conform(base)
    frame = _part(extract, since, until)
    if not frame.height:
        return stored
    frame = widen(frame, stored.schema)
    stored = widen(stored, frame.schema)
    _reject_misfit(frame, stored.schema, since or date.min)
    kept = stored.filter(~_between(since, until))
    return conform(pl.concat([kept, frame.select(kept.columns)]))


def find_later_rows(
    base: pl.LazyFrame,
    extract: Extract,
    since: date | None,
    newest: date | None,
    until: date | None = None,
) -> pl.DataFrame | None:
    """Return the rows that ``extract`` appends to the stored data; ``None`` if it changes more.

    ``newest`` is the last date stored; ``since`` and ``until`` are those of ``merge``. If a frame
    is returned, the new dataset is ``base`` plus these rows, all of later dates (empty: nothing
    changed), so ``StoreHandle.append`` and ``extend_hash`` apply. Only the dates of ``base`` from
    ``since`` to ``until`` are read.
    """
    if since is None or newest is None or (extract.complete and until is None):
        return None
    frame = _part(extract, since, until)
    if not frame.height:
        return conform(base.head(0).collect())
    schema = base.collect_schema()
    frame = widen(frame, schema)
    if any(dtype != schema.get(name, dtype) for name, dtype in _wider(frame, schema)):
        return None
    _reject_misfit(frame, schema, since)
    stored = conform(base.filter(_between(since, until)).collect())
    again = frame.filter(pl.col("date") <= newest).select(stored.columns)
    if not again.equals(stored):
        return None
    return frame.filter(pl.col("date") > newest).select(stored.columns)


def find_first_change(before: pl.DataFrame, after: pl.DataFrame) -> date | None:
    """Return the first date whose rows differ between two datasets.

    ``None`` if the columns or their types differ, so that every date changed, and if nothing
    differs.
    """
    before, after = conform(before), conform(after)
    if dict(before.schema) != dict(after.schema):
        return None
    both = _digests(before.select(after.columns)).join(
        _digests(after), on="date", how="full", coalesce=True, suffix="_after"
    )
    same = pl.col("digest").eq_missing(pl.col("digest_after"))
    changed = both.filter(~(same & pl.col("rows").eq_missing(pl.col("rows_after"))))
    return cast("date | None", changed["date"].min())


def _digests(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the row count and a checksum of each date, comparable only within this process."""
    hashed = frame.select("date", digest=frame.hash_rows())
    return hashed.group_by("date").agg(pl.col("digest").sum(), rows=pl.len())


def _between(since: date | None, until: date | None) -> pl.Expr:
    return pl.col("date").is_between(since or date.min, until or date.max)


def _up_to(frame: pl.DataFrame, until: date | None) -> pl.DataFrame:
    return frame if until is None else frame.filter(pl.col("date") <= until)


def _wider(
    frame: pl.DataFrame, stored: Mapping[str, pl.DataType]
) -> Iterator[tuple[str, pl.DataType]]:
    """Yield columns of a frame whose types can hold every value of the stored columns."""
    for name, dtype in frame.schema.items():
        if name in stored and is_wider(dtype, stored[name]):
            yield name, dtype


def _part(extract: Extract, since: date | None, until: date | None) -> pl.DataFrame:
    """Return the rows of an extract that replace the stored rows between two dates."""
    frame = _up_to(conform(extract.frame), until)
    if extract.complete:
        frame = frame.filter(_between(since, until))
    return frame


def check_signal(
    frame: pl.DataFrame,
    min_value: float | None = None,
    max_value: float | None = None,
    allow_nan: bool = False,
    index_columns: Sequence[str] = KEYS,
) -> None:
    """Raise ``DataRejected`` if a field of ``frame`` breaks the contract in the signal's spec.

    Every column except the index and ``knowledge_time`` is a field and must be numeric, between
    ``min_value`` and ``max_value`` (``None``: no limit on that side) and, without ``allow_nan``,
    neither null nor NaN. Infinite values are never allowed. The report counts the offending values
    by rule and shows at most ten.
    """
    missing = [column for column in index_columns if column not in frame.columns]
    if missing:
        there = ", ".join(frame.columns)
        raise DataRejected(
            f"the signal has no index column {', '.join(missing)} (there are {there})",
            {"rows": frame.height, "rules": {"index_missing": len(missing)}, "sample": []},
        )
    faults = [*_index_faults(frame, index_columns)]
    rules = _value_rules(min_value, max_value, allow_nan)
    for column in frame.iter_columns():
        if column.name not in index_columns and column.name != KNOWLEDGE:
            faults += _value_faults(frame, column, rules)
    _reject_if_any([fault for fault in faults if fault.count], frame.height)


def fill_missing(frame: pl.DataFrame, value: float, index_columns: Sequence[str]) -> pl.DataFrame:
    """Return the frame with ``value`` where a field is null or NaN.

    Fields are the numeric columns besides the index and ``knowledge_time``.
    """
    fields = pl.selectors.numeric() - pl.selectors.by_name(
        *index_columns, KNOWLEDGE, require_all=False
    )
    whole = frame.with_columns(fields.fill_null(value))
    return whole.with_columns((fields & pl.selectors.float()).fill_nan(value))


def _plain_type(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.Datetime):
        return _UTC if dtype.time_zone else pl.Datetime("us")
    if dtype.is_unsigned_integer() or dtype == pl.Int128():
        return pl.Int64()
    if dtype.is_decimal():
        return pl.Float64()
    if dtype == pl.Float16():
        return pl.Float32()
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return pl.String()
    return pl.Float64() if isinstance(dtype, pl.Null) else dtype


def _faults(frame: pl.DataFrame) -> list[_Fault]:
    """Return faults of the columns or, if there are none, faults of the rows."""
    found = [*_column_faults(frame)]
    if not found:
        keys = list_key_columns(frame.columns)
        found = [fault for fault in _index_faults(frame, keys) if fault.count]
    return found


def _column_faults(frame: pl.DataFrame) -> Iterator[_Fault]:
    schema, none = frame.schema, frame.clear()
    for name, wanted in (("date", pl.Date()), ("symbol", pl.String())):
        if name not in schema:
            yield _Fault("missing_column", f"there is no column {name!r}", none)
        elif schema[name] != wanted:
            message = f"column {name!r} is {schema[name]}, must be {wanted}"
            yield _Fault("wrong_type", message, none)
    if KNOWLEDGE in schema and schema[KNOWLEDGE] != _UTC:
        message = f"column {KNOWLEDGE!r} is {schema[KNOWLEDGE]}, must be {_UTC}"
        yield _Fault("wrong_type", message, none)
    yield from _field_faults(frame)


def _field_faults(frame: pl.DataFrame) -> Iterator[_Fault]:
    schema, none = frame.schema, frame.clear()
    fields = list_field_columns(frame.columns)
    if not fields:
        yield _Fault("no_field", "there is no field column besides the key", none)
    for name in fields:
        dtype = _plain_type(schema[name])
        if dtype not in _TAGS:
            yield _Fault("wrong_type", f"column {name!r} is {dtype}, not supported by stores", none)
        if not name.strip() or not name.isprintable():
            yield _Fault("bad_name", f"column {name!r} has an unusable name", none)
    lowered = Counter(name.lower() for name in frame.columns)
    for name in frame.columns:
        if lowered[name.lower()] > 1:
            message = f"column {name!r} differs from another by case only"
            yield _Fault("bad_name", message, none)


def _index_faults(frame: pl.DataFrame, keys: Sequence[str]) -> Iterator[_Fault]:
    for key in keys:
        if frame[key].null_count():
            rows = frame.filter(pl.col(key).is_null())
            yield _Fault("null_key", f"{rows.height} rows have no {key}", rows)
    if KNOWLEDGE in frame.columns and KNOWLEDGE not in keys:
        keys = [*keys, KNOWLEDGE]
    repeated = frame.select(keys).is_duplicated()
    if not repeated.any():
        return
    rows = frame.filter(repeated)
    label = ", ".join(keys)
    yield _Fault("duplicate_key", f"{rows.height} rows share their ({label}) with another", rows)


def _value_rules(
    min_value: float | None, max_value: float | None, allow_nan: bool
) -> list[tuple[str, pl.Expr, str]]:
    """Return each rule for values: name, condition on the column ``value``, and text."""
    value = pl.col("value")
    rules = [("infinite", value.is_infinite(), "are infinite")]
    if not allow_nan:
        rules.append(("missing", value.is_null() | value.is_nan(), "are missing"))
    # polars orders NaN above every number, so bounds apply to finite values only.
    if min_value is not None:
        below = value.is_finite() & (value < min_value)
        rules.append(("below_min", below, f"are below {min_value}"))
    if max_value is not None:
        above = value.is_finite() & (value > max_value)
        rules.append(("above_max", above, f"are above {max_value}"))
    return rules


def _value_faults(
    frame: pl.DataFrame, column: pl.Series, rules: Sequence[tuple[str, pl.Expr, str]]
) -> Iterator[_Fault]:
    """Yield the faults of one column; search for whole rows only if there are any."""
    name, dtype = column.name, column.dtype
    if not dtype.is_numeric():
        message = f"column {name!r} is {dtype}, a signal is numeric"
        yield _Fault("not_numeric", message, frame)
        return
    values = pl.DataFrame({"value": column.cast(pl.Float64)})
    masks = values.select(**{rule: broken for rule, broken, _ in rules})
    for rule, _, text in rules:
        if masks[rule].any():
            rows = frame.filter(masks[rule])
            yield _Fault(rule, f"{rows.height} values of {name!r} {text}", rows)


def _reject_if_any(faults: Sequence[_Fault], rows: int) -> None:
    if not faults:
        return
    rules: dict[str, int] = {}
    sample: list[dict[str, Any]] = []
    for fault in faults:
        rules[fault.rule] = rules.get(fault.rule, 0) + fault.count
        shown = fault.rows.head(SAMPLE - len(sample))
        sample += [{"rule": fault.rule, **_jsonable_row(row)} for row in shown.to_dicts()]
    messages = [fault.message for fault in faults]
    report = {"rows": rows, "rules": rules, "problems": messages, "sample": sample}
    raise DataRejected("; ".join(messages), report)


def _jsonable_row(row: Mapping[str, object]) -> dict[str, object]:
    return {name: _jsonable(value) for name, value in row.items()}


def _jsonable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _reject_misfit(frame: pl.DataFrame, stored: Mapping[str, pl.DataType], since: date) -> None:
    if dict(frame.schema) != dict(stored):
        now = ", ".join(f"{name} {dtype}" for name, dtype in frame.schema.items())
        before = ", ".join(f"{name} {dtype}" for name, dtype in stored.items())
        raise DataRejected(
            f"the new rows have columns ({now}), the stored rows have ({before}); run in mode full",
            {"columns": now, "stored": before},
        )
    early = frame.filter(pl.col("date") < since)
    _reject_if_any(
        [_Fault("before_since", f"{early.height} rows are before {since}", early)]
        if early.height
        else [],
        frame.height,
    )


def _schema_bytes(schema: Mapping[str, pl.DataType]) -> bytes:
    tags = {name: _TAGS.get(dtype, str(dtype)) for name, dtype in schema.items()}
    return json.dumps(tags, sort_keys=True).encode()


def _number(digest: hashlib._Hash) -> int:
    return int.from_bytes(digest.digest(), "big")


def _hex(number: int) -> str:
    return f"{number % _MODULUS:064x}"


def _rows_sum(ordered: pl.DataFrame, head: bytes) -> int:
    """Return the sum of the digests of each date's rows; ``ordered`` is sorted by key."""
    if not ordered.height:
        return 0
    columns = sorted(ordered.iter_columns(), key=lambda column: column.name)
    encoders = [_Encoder(column) for column in columns]
    total = start = 0
    for length in ordered.get_column("date").rle().struct.field("len").to_list():
        digest = hashlib.sha256(head)
        for encoder in encoders:
            encoder.feed(digest, start, start + length)
        total += _number(digest)
        start += length
    return total


class _Encoder:
    """The values of one column as platform-independent bytes, by ranges of rows."""

    def __init__(self, column: pl.Series) -> None:
        self._null = column.is_null().to_numpy() if column.null_count() else None
        if column.dtype == pl.String:
            filled = column.fill_null("")
            self._values = filled.str.len_bytes().to_numpy().astype("<u4")
            self._text = filled.str.join("").item().encode()
            ends = np.cumsum(self._values, dtype=np.int64)
            self._offsets: np.ndarray[Any, Any] | None = np.concatenate([[0], ends])
        else:
            self._values, self._text, self._offsets = _fixed_width(column), b"", None

    def feed(self, digest: hashlib._Hash, start: int, end: int) -> None:
        """Add rows ``start`` to ``end`` to ``digest``: the null mask first, then the values."""
        missing = self._null[start:end] if self._null is not None else None
        if missing is not None and missing.any():
            digest.update(b"\1" + missing.tobytes())
        else:
            digest.update(b"\0")
        digest.update(self._values[start:end].data)
        if self._offsets is not None:
            digest.update(self._text[self._offsets[start] : self._offsets[end]])


def _fixed_width(column: pl.Series) -> np.ndarray[Any, Any]:
    """Return little-endian values: 0 for null, one bit pattern for NaN and one for zero."""
    if column.dtype.is_float():
        values = column.fill_null(0.0).to_numpy() + 0.0
        values = np.where(np.isnan(values), values.dtype.type("nan"), values)
    elif column.dtype == pl.Boolean:
        values = column.fill_null(False).to_numpy().astype("u1")
    else:
        values = column.to_physical().fill_null(0).to_numpy()
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
