"""Names and references in specs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator

from prefect_instances.libs.core.ids import NAME, NAME_HELP
from prefect_instances.libs.specs.reading.json_values import Text

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,126}\Z")


COMPONENT_ROLES = frozenset({"pipeline", "store", "accessor", "executor"})
"""The name of a component that belongs to one instance: ``instance.role``."""


def is_name(text: str) -> bool:
    """Return True if ``text`` is a valid name of a project or an instance."""
    return NAME.match(text) is not None


def as_uuid(text: str) -> UUID | None:
    """Parse a uuid in its usual form; None if ``text`` is anything else."""
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def full_name(reference: str, project: str) -> str:
    """Return the canonical form of a reference: ``project/name`` in lower case, or the uuid."""
    if as_uuid(reference) is not None or "/" in reference:
        return reference.lower()
    return f"{project}/{reference}".lower()


def _checked_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{_shown(text)} is not a valid name: {NAME_HELP}")
    return text


def _checked_reference(text: str) -> str:
    identifier = as_uuid(text)
    if identifier is not None:
        return str(identifier)
    parts = text.split("/")
    if len(parts) <= 2 and all(is_name(part) for part in parts):
        return text
    raise ValueError(f"{_shown(text)} is not a name, project/name or uuid: {NAME_HELP}")


def _checked_local(text: str) -> str:
    identifier = as_uuid(text)
    if identifier is not None:
        return str(identifier)
    owner, dot, role = text.partition(".")
    if dot and role in COMPONENT_ROLES:
        _checked_name(owner)
        return text
    return _checked_name(text)


def _checked_word(text: str) -> str:
    if not _WORD.match(text):
        raise ValueError(
            f"{_shown(text)} must consist of letters, digits and . _ + / -, without spaces"
        )
    return text


def _optional(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda text: check(text) if text else text)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")


Name = Annotated[Text, AfterValidator(_checked_name)]
"""The name of a project, an instance or a role."""

OptionalName = Annotated[Text, _optional(_checked_name)]
"""A name, or empty."""

Reference = Annotated[Text, AfterValidator(_checked_reference)]
"""A name in the same project, ``project/name``, or a uuid."""

OptionalReference = Annotated[Text, _optional(_checked_reference)]
"""A reference, or empty."""

OptionalLocal = Annotated[Text, _optional(_checked_local)]
"""A name in the same project, ``instance.role`` of a component, a uuid, or empty."""

OptionalWord = Annotated[Text, _optional(_checked_word)]
"""The name or version of a definition, or empty."""
