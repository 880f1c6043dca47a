"""The base of every spec model: accepts long keys and reports all faults at once.

Pydantic stops at the first level that fails: if fields have faults, model-level checks do not run.
Here the checks across fields work on the document itself, so that a person sees all faults at once,
each at the path that was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from prefect_instances.libs.specs.reading.problems import (
    Fault,
    Loc,
    faults_of,
    kind_of,
    unknown_key,
    validation_error,
)


@dataclass(slots=True)
class Reading:
    """A document whose keys are the model's field names.

    ``written`` maps each short key to the path that the person wrote, for problems.
    """

    values: dict[str, Any] = field(default_factory=dict)
    written: dict[Loc, Loc] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def put(self, key: str, value: Any, written: Loc) -> None:
        """Set ``key``; a second, different value is recorded as a fault where it was written."""
        if value is None:
            return
        if key not in self.values:
            self.values[key] = value
            self.written[(key,)] = written
            return
        if not _same(self.values[key], value):
            first = ".".join(map(str, self.written[(key,)]))
            self.faults.append(Fault(written, f"contradicts {first!r}; write only one of them"))

    def locate(self, fault: Fault) -> Fault:
        """Return the same fault at the path that was written."""
        for length in range(len(fault.loc), 0, -1):
            start = self.written.get(fault.loc[:length])
            if start is not None:
                return Fault(start + fault.loc[length:], fault.message)
        return fault


class SpecModel(BaseModel):
    """Base class of the spec models; subclasses set the class attributes below."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    ALIASES: ClassVar[Mapping[str, str]] = {}
    """Maps long keys to fields; both are accepted, schemas show the field."""

    SHORTHAND: ClassVar[str] = ""
    """Field that a plain text sets (``store: parquet``); empty if there is none."""

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    """Keys that a vendor adds to the document and that the spec ignores."""

    @classmethod
    def read(cls, document: Mapping[Any, Any]) -> Reading:
        """Read a document under short keys; empty values count as missing."""
        reading = Reading()
        cls.read_keys(document, reading, ())
        return reading

    @classmethod
    def read_keys(cls, document: Mapping[Any, Any], reading: Reading, at: Loc) -> None:
        """Put each key of ``document``, which was written at ``at``, into ``reading``.

        Short keys come first, so that a contradiction is reported at the long key.
        """
        for key, value in sorted(document.items(), key=lambda item: item[0] in cls.ALIASES):
            name = cls.ALIASES.get(key, key) if isinstance(key, str) else str(key)
            if name in cls.model_fields:
                reading.put(name, value, (*at, str(key)))
            elif name not in cls.IGNORED:
                message = unknown_key(str(key), cls.label(), cls.model_fields, cls.other_keys())
                reading.faults.append(Fault((*at, str(key)), message))

    @classmethod
    def other_keys(cls) -> list[str]:
        """Return the keys that a document may have besides the fields."""
        return list(cls.ALIASES)

    @classmethod
    def label(cls) -> str:
        """Return the name of this part of a document, with an article, for messages."""
        return f"a {cls.model_config.get('title') or cls.__name__}".lower()

    @classmethod
    def misdirected(cls, document: Mapping[Any, Any]) -> Fault | None:
        """Return a fault if the document is for another model; no other fault is reported then."""
        del document
        return None

    @classmethod
    def across(cls, values: Mapping[str, Any]) -> Iterable[Fault]:
        """Report faults across fields; values are not validated and have short keys."""
        del values
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, cls):
            return handler(data)
        document = cls._as_document(data)
        if fault := cls.misdirected(document):
            raise validation_error(cls.__name__, [fault])
        reading = cls.read(document)
        faults = [*reading.faults, *(reading.locate(fault) for fault in cls.across(reading.values))]
        result: Self | None = None
        try:
            result = handler(reading.values)
        except ValidationError as error:
            faults += [reading.locate(fault) for fault in faults_of(error)]
        if result is None or faults:
            raise validation_error(cls.__name__, dict.fromkeys(faults))
        return result

    @classmethod
    def _as_document(cls, data: Any) -> Mapping[Any, Any]:
        if isinstance(data, SpecModel):
            return cast(Mapping[Any, Any], data.document())
        if isinstance(data, Mapping):
            return data
        if cls.SHORTHAND and isinstance(data, str):
            return {cls.SHORTHAND: data}
        fault = Fault((), f"must be a mapping of keys to values, not {kind_of(data)}")
        raise validation_error(cls.__name__, [fault])

    def document(self) -> dict[str, Any]:
        """Return what differs from the defaults as JSON data; it validates to an equal model."""
        result: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if info.is_required() or value != info.get_default(call_default_factory=True):
                result[name] = _document_of(value)
        return result


def _document_of(value: Any) -> Any:
    if isinstance(value, SpecModel):
        return value.document()
    if isinstance(value, list):
        return [_document_of(item) for item in value]
    if isinstance(value, dict):
        return {key: _document_of(item) for key, item in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except RecursionError:
        return False
