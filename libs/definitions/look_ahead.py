"""The look-ahead audit: a value may not change when only data of later dates change.

The output is computed again on inputs that are altered after a random date, in three ways. Up to
that date it must stay the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.content import KNOWLEDGE, list_field_columns
from prefect_instances.libs.definitions.row_changes import AFTER, RowChanges, find_row_changes

ENDING = 5
"""One symbol in so many ends at the date, where later values are restated."""


class Change(StrEnum):
    """What becomes of the rows after a date.

    ``truncated``: they are absent. ``shuffled``: their values move to other dates and symbols.
    ``restated``: every value is another one, and some symbols have no row.
    """

    TRUNCATED = "truncated"
    SHUFFLED = "shuffled"
    RESTATED = "restated"


@dataclass(frozen=True, slots=True)
class Alteration:
    """A change of every row that is later than ``day``; ``seed`` makes its random choices."""

    day: date
    change: Change
    seed: int

    def apply(
        self, frame: pl.DataFrame, name: str, *, decided: bool = False, timezone: str = "UTC"
    ) -> pl.DataFrame:
        """Change the late rows of an input (date x symbol, long), in a way that ``name`` fixes.

        Late is what is dated after the day, or became known after its end in ``timezone``. Of
        decisions (``decided``), which count from the next bar on, the day itself is late as well.
        """
        day, dated = pl.lit(self.day), pl.col("date")
        late = dated >= day if decided else dated > day
        if KNOWLEDGE in frame.columns:
            late |= pl.col(KNOWLEDGE).dt.convert_time_zone(timezone).dt.date() > day
        early, later = frame.filter(~late), frame.filter(late)
        if self.change is Change.TRUNCATED or not later.height:
            return early
        rng = np.random.default_rng([self.seed, self.day.toordinal(), crc32(name.encode())])
        alter = _shuffle if self.change is Change.SHUFFLED else _restate
        return pl.concat([early, alter(later, rng)])


def _shuffle(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Give each key the values of another row."""
    fields = list_field_columns(frame.columns)
    moved = frame.select(fields)[rng.permutation(frame.height)]
    return frame.with_columns(moved.get_columns())


def _restate(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Replace each value by a random one; drop one symbol in ``ENDING`` if there are several."""
    columns = [_redraw(frame[name], rng) for name in list_field_columns(frame.columns)]
    symbols = frame["symbol"].unique().sort()
    ending = 0 if len(symbols) < 2 else max(1, len(symbols) // ENDING)
    gone = symbols[rng.permutation(len(symbols))[:ending]]
    return frame.with_columns(columns).filter(~pl.col("symbol").is_in(gone.implode()))


def _redraw(values: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Return other values of the same type and sign; missing ones stay missing.

    Texts and dates move to other rows.
    """
    if values.dtype == pl.Boolean:
        drawn = pl.Series(rng.random(len(values)) < 0.5)
        return pl.select(pl.when(values.is_not_null()).then(drawn)).to_series().alias(values.name)
    if not values.dtype.is_numeric():
        return values.gather(rng.permutation(len(values)))
    noise = pl.Series(rng.normal(size=len(values)))
    scaled = values.cast(pl.Float64) * (noise / 2).exp()
    if values.dtype.is_float():
        redrawn = pl.select(pl.when(values == 0).then(noise).otherwise(scaled)).to_series()
    else:
        redrawn = scaled.round() + 1
    return redrawn.cast(values.dtype, strict=False).alias(values.name)


@dataclass(frozen=True, slots=True)
class Leak:
    """The first value that differs, and how many rows do.

    ``column`` is empty, and ``before`` or ``after`` None, for a row that only one output has.
    ``size`` is the absolute difference of two numbers, None for anything else.
    """

    rows: int
    date: date | None
    symbol: str
    column: str
    before: Any
    after: Any
    size: float | None

    def __str__(self) -> str:
        """Return one line: where it is, and what differs."""
        at = " ".join(str(part) for part in (self.date, self.symbol, self.column) if part)
        values = f"{_show(self.before)} became {_show(self.after)}"
        return f"{at}: {values} ({self.rows:,} rows differ)"


def _show(value: object) -> str:
    if value is None:
        return "nothing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: the output up to ``day``, computed on altered inputs.

    ``rows`` counts the rows up to the day. ``leak`` is None if none of them differs. ``error`` says
    why nothing could be computed; then nothing was compared.
    """

    day: date
    change: Change
    rows: int
    leak: Leak | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit; ``unstable`` is what differs without any change of the inputs."""

    seed: int
    comparisons: Sequence[Comparison] = field(default=())
    unstable: Leak | None = None

    @property
    def leaks(self) -> list[Comparison]:
        """Return the comparisons that found a difference."""
        return [one for one in self.comparisons if one.leak is not None]

    @property
    def differences(self) -> list[tuple[str, Leak]]:
        """Return every difference with how it was found."""
        found = [(str(one.change), one.leak) for one in self.leaks if one.leak is not None]
        return found if self.unstable is None else [("same inputs", self.unstable), *found]

    @property
    def uncompared(self) -> list[Change]:
        """Return the changes with which nothing could be computed on any date."""
        compared = {one.change for one in self.comparisons if not one.error}
        return [change for change in Change if change not in compared]

    @property
    def passed(self) -> bool:
        """Return True if no value differs, and each kind of change was compared at least once."""
        return self.unstable is None and not self.leaks and not self.uncompared

    @property
    def verdict(self) -> str:
        """Return the result in one line."""
        if self.unstable is not None:
            return f"two computations on the same inputs differ: {self.unstable}"
        if self.leaks:
            first = self.leaks[0]
            return f"looks ahead: inputs {first.change} after {first.day}: {first.leak}"
        if self.uncompared:
            failed = next((one for one in self.comparisons if one.error), None)
            why = f": {failed.error}" if failed else ""
            return f"nothing could be compared on {', '.join(self.uncompared)} inputs{why}"
        done = [one for one in self.comparisons if not one.error]
        days = len({one.day for one in done})
        return f"no look-ahead in {len(done)} comparisons on {days} dates"

    def document(self) -> dict[str, Any]:
        """Convert the audit to a JSON document."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "seed": self.seed,
            "unstable": _plain(self.unstable),
            "comparisons": [
                {
                    "date": str(one.day),
                    "inputs": one.change.value,
                    "rows": one.rows,
                    "leak": _plain(one.leak),
                    "error": one.error,
                }
                for one in self.comparisons
            ],
        }


def _plain(leak: Leak | None) -> dict[str, Any] | None:
    if leak is None:
        return None
    # NaN and infinity are no JSON.
    return {
        key: value if isinstance(value, int | str | None) or _is_finite(value) else str(value)
        for key, value in asdict(leak).items()
    }


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and bool(np.isfinite(value))


Compute = Callable[[Alteration | None], pl.DataFrame]
"""Computes the output (date x symbol, long) on altered inputs; None: on the inputs as they are."""


def audit_output(
    compute: Compute, dates: Sequence[date], seed: int, points: int, *, by_period: bool = False
) -> Audit:
    """Compute an output on altered inputs and compare it up to each of ``points`` random dates.

    ``dates`` are those of the inputs; the ones before the output begins, and its last one, are not
    drawn. ``by_period``: the last bar of a period has rows only once a later bar shows that it is
    the last one, so that truncated inputs may lack them. Raises DataRejected if no date is left,
    and whatever ``compute`` raises on the inputs as they are.
    """
    plain = compute(None)
    unstable = compare_outputs(plain, compute(None))
    days = draw_days(plain, dates, seed, points)
    if unstable is not None:
        return Audit(seed, (), unstable)
    return Audit(seed, tuple(_compare_all(compute, plain, days, seed, by_period)))


def draw_days(output: pl.DataFrame, dates: Sequence[date], seed: int, points: int) -> list[date]:
    """Draw at most ``points`` dates on which the output has a past, and the inputs a future."""
    first, last = output["date"].min(), output["date"].max()
    between = sorted({day for day in dates if output.height and first <= day < last})  # type: ignore[operator]  # dates
    if not between:
        raise DataRejected("the output has fewer than two dates: there is no past to compare")
    rng = np.random.default_rng([seed, len(between)])
    chosen = rng.permutation(len(between))[:points]
    return sorted(between[at] for at in chosen)


def _compare_all(
    compute: Compute, plain: pl.DataFrame, days: Sequence[date], seed: int, by_period: bool
) -> Iterator[Comparison]:
    for day in days:
        for change in Change:
            past = plain.filter(pl.col("date") <= day)
            try:
                found = compute(Alteration(day, change, seed)).filter(pl.col("date") <= day)
            except Exception as error:  # noqa: BLE001  # a definition may raise anything
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                yield Comparison(day, change, past.height, error=text)
                continue
            if by_period and change is Change.TRUNCATED and found["date"].max() != day:
                past = past.filter(pl.col("date") < day)
            leak = compare_outputs(past, found)
            yield Comparison(day, change, past.height, leak)


def compare_outputs(before: pl.DataFrame, after: pl.DataFrame) -> Leak | None:
    """Return the first difference of two outputs; None if they are equal, NaN equal to NaN.

    Numbers are compared by value: how many of a column are missing may decide on its type.
    """
    found = find_row_changes(before, after)
    rows = found.added.height + found.removed.height + found.pairs.height
    columns = (*found.columns_added, *found.columns_removed)
    if not rows and not columns:
        return None
    if not rows:
        one, other = (frame.schema.get(columns[0]) for frame in (before, after))
        return Leak(before.height, None, "", columns[0], _name(one), _name(other), None)
    return _first(found, rows)


def _name(dtype: pl.DataType | None) -> str | None:
    return None if dtype is None else str(dtype)


def _first(found: RowChanges, rows: int) -> Leak:
    """Return the difference of the earliest date; of one date, a changed value comes first."""
    keyed = [
        (frame.sort("date", "symbol").row(0, named=True), at)
        for at, frame in enumerate((found.pairs, found.removed, found.added))
        if frame.height
    ]
    row, at = min(keyed, key=lambda item: (item[0]["date"], item[1]))
    if at:
        before, after = ("a row", None) if at == 1 else (None, "a row")
        return Leak(rows, row["date"], row["symbol"], "", before, after, None)
    column = next(name for name in found.fields if _differ(row[name], row[name + AFTER]))
    before, after = row[column], row[column + AFTER]
    return Leak(rows, row["date"], row["symbol"], column, before, after, _size(before, after))


def _differ(one: object, other: object) -> bool:
    both_nan = one != one and other != other  # only NaN differs from itself
    return one != other and not both_nan


def _size(before: object, after: object) -> float | None:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(float(after) - float(before))
    return None
