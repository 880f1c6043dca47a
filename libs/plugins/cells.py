"""Parsing of cells as dates, times, symbols and numbers: the same rules for every source.

A cell that does not fit the type of its column raises ``DataRejected`` with its row and its value.
No cell is changed into another value, and a cell is missing only if it is empty or declared
missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from prefect_instances.libs.core.dates import DAY, EARLIEST, LATEST
from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.content import SAMPLE
from prefect_instances.libs.definitions.widening import EXACT_FLOAT

CellType = Literal["number", "text", "boolean"]

Where = Callable[[int], str]
"""Returns the place of a value from its index in a column: ``row 12 of 'prices.csv'``."""

MOMENT = "a time with its zone like 2024-01-31T18:00:00Z"
SYMBOL = "a symbol"
NUMBER = "a number"

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
_OFFSET = r"Z|UTC|[+-](?:0\d|1[0-4]):?[0-5]\d"
_TIMED = rf"^(\d{{4}}-\d{{2}}-\d{{2}})[T ]{_CLOCK} ?({_OFFSET})?$"
_MOMENT = rf"^(\d{{4}}-\d{{2}}-\d{{2}})[T ]({_CLOCK}) ?({_OFFSET})$"
_UTC = pl.Datetime("us", "UTC")

_NO_SYMBOL = r"^(?:[+-]?\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]\d+|nan|NaN|None|null|<NA>|NaT)$"
"""Symbols that another tool turned into a number (600519.0) or a mark for a missing value."""

_LEADING_ZERO = r"^[+-]?0\d"
_NOT_FINITE = r"(?i)^[+-]?(?:nan|inf|infinity)$"
_BOOLEAN = r"(?i)^(?:true|false)$"
_LIKE_A_NUMBER = r"^[-+(\x{2212}]?[$€£¥]?\s?\d[\d.,'_\s\x{a0}]*(?:[eE][+-]?\d+|[-%$€£¥)])?$"
_DIGITS = r"^[0-9]+$"
_WHOLE = r"^[+-]?[0-9]+$"
_NOT_ASCII = r"[^\x00-\x7f]"
_INVISIBLE = r"[[:cntrl:]\p{Cf}]"


@dataclass(frozen=True, slots=True)
class Notation:
    """The notation of numbers and missing values in text.

    ``thousands`` is empty if digits are not grouped; ``missing`` are texts that mean no value, in
    addition to the empty text.
    """

    decimal: str = "."
    thousands: str = ""
    missing: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Return True if numbers are written as in program code."""
        return self.decimal == "." and not self.thousands

    @property
    def pattern(self) -> str:
        """Return a regular expression for a number; digit groups, if any, have three digits."""
        point, mark = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"\d+|\d{{1,3}}(?:{mark}\d{{3}})+" if mark else r"\d+"
        return rf"^[+-]?(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$"


PLAIN = Notation()


def check_zone(zone: str) -> str:
    """Return ``zone``; raise ``ValueError`` unless it is empty or an IANA time zone."""
    if zone:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("must be an IANA time zone, such as America/New_York") from None
    return zone


def check_date_format(style: str) -> str:
    """Return a strptime format; raise ``ValueError`` if it lacks year, month or day.

    Empty stands for ISO dates. The year must have four digits (``%Y``).
    """
    of_month = {"%d", "%e"} & _directives(style) and {"%m", "%b", "%B"} & _directives(style)
    if style and not ("%Y" in style and (of_month or "%j" in style)):
        raise ValueError("needs a year of four digits, a month and a day, like %d.%m.%Y")
    return style


def _directives(style: str) -> set[str]:
    return {f"%{letter}" for letter in re.findall(r"%(.)", style)}


def read_days(given: pl.Series, where: Where, timezone: str = "", style: str = "") -> pl.Series:
    """Return the calendar days in a column of dates, times or texts.

    Texts are ISO dates or times, or have the strptime format ``style``. The day of a time is the
    day in its own zone or offset; if ``timezone`` is set and the time has a zone, it is the day in
    ``timezone``. Raises ``DataRejected`` for every other value, a missing one, and one outside of
    ``EARLIEST`` to ``LATEST``.
    """
    if isinstance(given.dtype, pl.Datetime):
        zoned = (
            given.dt.convert_time_zone(timezone) if given.dtype.time_zone and timezone else given
        )
        days = zoned.dt.date()
    elif given.dtype == pl.String:
        days = _days_of_texts(given.str.strip_chars(), timezone, style)
    elif given.dtype == pl.Date or not given.len():
        days = given.cast(pl.Date)
    else:
        raise DataRejected(f"column {given.name!r} is {given.dtype}, not {DAY}")
    sane = days.is_between(EARLIEST, LATEST).fill_null(value=False)
    reject_cells(given, ~sane, (style and f"a date written {style}") or DAY, where)
    return days


def _days_of_texts(texts: pl.Series, timezone: str, style: str) -> pl.Series:
    if style:
        kind = pl.Datetime("us") if "%H" in style else pl.Date()
        return texts.str.strptime(kind, style, strict=False).cast(pl.Date)
    days = texts.str.to_date("%Y-%m-%d", strict=False)
    if days.null_count() == texts.null_count():
        return days
    timed = texts.str.extract(_TIMED, 1).str.to_date("%Y-%m-%d", strict=False)
    if timezone:
        moments = _moments_of_texts(texts).dt.convert_time_zone(timezone).dt.date()
        timed = moments.zip_with(moments.is_not_null(), timed)
    return days.zip_with(days.is_not_null(), timed)


def read_moments(given: pl.Series, where: Where) -> pl.Series:
    """Return the times (microseconds, UTC) in a column of aware times or ISO texts.

    Raises ``DataRejected`` for a time without zone or offset, a missing one, any other text, and a
    time outside of ``EARLIEST`` to ``LATEST``.
    """
    if isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone:
        moments = given.cast(_UTC)
    elif given.dtype == pl.String:
        moments = _moments_of_texts(given.str.strip_chars())
    elif not given.len():
        moments = given.cast(_UTC)
    else:
        raise DataRejected(f"column {given.name!r} is {given.dtype}, not {MOMENT}")
    sane = moments.dt.date().is_between(EARLIEST, LATEST).fill_null(value=False)
    reject_cells(given, ~sane, MOMENT, where)
    return moments.alias(given.name)


def _moments_of_texts(texts: pl.Series) -> pl.Series:
    parts = pl.DataFrame({"text": texts}).select(
        day=pl.col("text").str.extract(_MOMENT, 1),
        clock=pl.col("text").str.extract(_MOMENT, 2),
        offset=pl.col("text").str.extract(_MOMENT, 3),
    )
    seconds = pl.when(pl.col("clock").str.len_bytes() == len("00:00")).then(pl.lit(":00"))
    offset = pl.col("offset").str.replace(r"^(?:Z|UTC)$", "+00:00")
    iso = parts.select(
        pl.col("day")
        + "T"
        + pl.col("clock")
        + seconds.otherwise(pl.lit(""))
        + offset.str.replace(r"^([+-]\d{2})(\d{2})$", "${1}:${2}")
    ).to_series()
    return iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False).cast(_UTC)


def read_symbols(given: pl.Series, where: Where) -> pl.Series:
    """Return a column of symbols as texts without surrounding blanks; 000001 is not changed.

    Whole numbers become their digits. Raises ``DataRejected`` for a missing symbol, a fraction like
    600519.0, an invisible character, letters that are not in Unicode's form NFC, and a column of
    any other type.
    """
    if given.dtype.is_integer() or not given.len():
        texts = given.cast(pl.String)
    elif isinstance(given.dtype, pl.String | pl.Categorical | pl.Enum):
        texts = given.cast(pl.String).str.strip_chars()
    elif given.dtype.is_float():
        texts = given.cast(pl.String)
    else:
        raise DataRejected(f"column {given.name!r} is {given.dtype}, not {SYMBOL}")
    bad = texts.is_null() | (texts == "") | texts.str.contains(_NO_SYMBOL)
    bad |= texts.str.contains(_INVISIBLE)
    reject_cells(given, bad.fill_null(value=True), SYMBOL, where)
    if texts.str.contains(_NOT_ASCII).any():
        hint = "another text looks the same; write it in Unicode's form NFC"
        reject_cells(given, texts != texts.str.normalize("NFC"), SYMBOL, where, hint=hint)
    return texts


def read_cells(
    given: pl.Series, where: Where, notation: Notation = PLAIN, wanted: CellType | None = None
) -> pl.Series:
    """Return a column of texts with the type of its cells: Int64, Float64, Boolean or String.

    ``wanted`` declares the type; without it all cells must have the same type. Numbers with leading
    zeros (007) are text. Raises ``DataRejected`` for the first cells of another type, if only some
    cells are numbers, if numbers are written in another notation, and for a whole number that
    would be rounded, unless ``wanted`` is "number".
    """
    present = _without_missing(given, notation)
    if wanted == "text" or not present.count():
        return present if wanted in ("text", None) else present.cast(_empty_type(wanted))
    if wanted == "boolean" or (wanted is None and present.str.contains(_BOOLEAN).all()):
        return _booleans(present, where)
    numbers = _numbers(present, notation)
    is_number = numbers.is_not_null()
    if wanted is None:
        is_number &= ~present.str.contains(_LEADING_ZERO).fill_null(value=False)
        if not (is_number & numbers.is_finite()).any():
            _reject_other_notation(present, where)
            return present
    reject_cells(present, present.is_not_null() & ~is_number, NUMBER, where, hint=_NUMBER_HINT)
    plain = _without_groups(present, notation)
    whole = _whole(plain, numbers)
    if wanted is None and whole.dtype == pl.Float64:
        _reject_rounded(plain, whole, where)
    return whole


_ROUNDED_HINT = "say in types whether the column is text, or a number that may be rounded"
_NUMBER_HINT = "correct it, name it in null_values, or say the column's type in types"


def _empty_type(wanted: str) -> pl.DataType:
    return pl.Boolean() if wanted == "boolean" else pl.Float64()


def _without_missing(given: pl.Series, notation: Notation) -> pl.Series:
    """Replace the texts that mean no value by null; other texts keep surrounding blanks."""
    if not notation.missing and _is_numeric(given):
        return given
    stripped = given.str.strip_chars()
    return given.set(stripped.is_in(["", *notation.missing]).fill_null(value=False), None)


def _is_numeric(texts: pl.Series) -> bool:
    """Return True if every cell is a number as in program code, so nothing must be stripped."""
    return texts.cast(pl.Float64, strict=False).null_count() == texts.null_count()


def _numbers(texts: pl.Series, notation: Notation) -> pl.Series:
    if notation.is_plain:
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() == texts.null_count():
            return _finite_as_written(texts, numbers)
    texts = texts.str.strip_chars()
    well = texts.str.contains(notation.pattern) | texts.str.contains(_NOT_FINITE)
    plain = _without_groups(texts, notation).str.replace_all(notation.decimal, ".", literal=True)
    numbers = plain.cast(pl.Float64, strict=False)
    return _finite_as_written(texts, numbers.set(~well.fill_null(value=False), None))


def _finite_as_written(texts: pl.Series, numbers: pl.Series) -> pl.Series:
    """Replace numbers that became infinite because they are too large by null."""
    infinite = numbers.is_infinite().fill_null(value=False)
    if not infinite.any():
        return numbers
    written = texts.str.strip_chars().str.contains(_NOT_FINITE).fill_null(value=False)
    return numbers.set(infinite & ~written, None)


def _without_groups(texts: pl.Series, notation: Notation) -> pl.Series:
    if not notation.thousands:
        return texts
    return texts.str.replace_all(notation.thousands, "", literal=True)


def _whole(texts: pl.Series, numbers: pl.Series) -> pl.Series:
    """Return Int64 if every number is written without a fraction and fits, else Float64."""
    head = numbers.drop_nulls().head(SAMPLE)
    if not (head.is_finite() & (head == head.floor())).all():
        return numbers
    whole = texts.str.strip_chars().cast(pl.Int64, strict=False)
    return whole if whole.null_count() == texts.null_count() else numbers


def _reject_rounded(texts: pl.Series, numbers: pl.Series, where: Where) -> None:
    """Reject whole numbers that a column of Float64 would change, such as identifiers."""
    large = (numbers.abs() >= EXACT_FLOAT) & numbers.is_finite() & texts.str.contains(_WHOLE)
    at = large.arg_true()
    pairs = zip(texts.gather(at).to_list(), numbers.gather(at).to_list(), strict=True)
    changed = pl.Series([int(text) != int(number) for text, number in pairs], dtype=pl.Boolean)
    rounded = pl.int_range(texts.len(), eager=True).is_in(at.filter(changed).implode())
    reject_cells(texts, rounded, "a number that fits without rounding", where, hint=_ROUNDED_HINT)


def _booleans(texts: pl.Series, where: Where) -> pl.Series:
    lowered = texts.str.strip_chars().str.to_lowercase()
    known = lowered.is_in(["true", "false"])
    reject_cells(texts, texts.is_not_null() & ~known, "true or false", where)
    return (lowered == "true").alias(texts.name)


def _reject_other_notation(texts: pl.Series, where: Where) -> None:
    """Reject a column of texts that are all numbers in another notation."""
    there = texts.drop_nulls().str.strip_chars()
    if there.str.contains(_LIKE_A_NUMBER).all() and not there.str.contains(_DIGITS).all():
        hint = "declare decimal and thousands, or say in types that the column is text"
        reject_cells(texts, texts.is_not_null(), NUMBER, where, hint=hint)


def reject_cells(
    given: pl.Series, broken: pl.Series, wanted: str, where: Where, hint: str = ""
) -> None:
    """Raise ``DataRejected`` if any value of ``given`` is marked in ``broken``.

    The message names the first one with its row, the ``wanted`` kind of value, and the count; the
    report shows the first ten.
    """
    lost = broken.arg_true()
    if not lost.len():
        return
    sample = [str(value) for value in given.gather(lost.head(SAMPLE)).to_list()]
    first = "no value" if sample[0] == "None" else repr(sample[0])
    more = "" if lost.len() == 1 else f" ({lost.len()} of {given.len()} values are not)"
    raise DataRejected(
        f"column {given.name!r} has {first} in {where(lost[0])}, which is not {wanted}{more}"
        + (f": {hint}" if hint else ""),
        {
            "column": given.name,
            "count": lost.len(),
            "sample": sample,
            "rows": [where(at) for at in lost.head(SAMPLE).to_list()],
        },
    )
