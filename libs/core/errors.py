"""One family of errors: what went wrong, whether trying again helps, and what to do about it.

Every error's text is one line that a person can act on. Vendor exceptions are translated by the
adapter that met them (``raise ... from``) and never leave it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class InstancesError(Exception):
    """Base of all errors of this project; catch it where a person is to be told."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state: the text is ``args``, whatever the constructor of the class takes."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[InstancesError], arguments: tuple[object, ...]) -> InstancesError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class PermanentError(InstancesError):
    """Trying again changes nothing: correct what the message names first."""


class TemporaryError(InstancesError):
    """Something outside was not available: try again, it is safe to."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in what a person wrote.

    ``path`` leads to it from the top of the document (``instances[2].schedule.timezone``),
    ``message`` says what is wrong and what would be right.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, prefix: str) -> Problem:
        """The same problem seen from a document that holds this one at ``prefix``."""
        if not prefix or not self.path:
            return Problem(prefix or self.path, self.message)
        joint = "" if self.path.startswith("[") else "."
        return Problem(f"{prefix}{joint}{self.path}", self.message)


class InvalidSpec(PermanentError):
    """The document has faults: correct every one of ``problems``; nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"{head}: " + "; ".join(str(problem) for problem in self.problems))


class NotFound(PermanentError):
    """No such thing: check its name or id."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        hint = "; `instances list` shows what exists" if kind == "instance" else ""
        super().__init__(f"no {kind} {name!r}{hint}")


class AlreadyExists(PermanentError):
    """The name is taken in its project: choose another, or update the one that is there."""

    def __init__(self, kind: str, name: str, detail: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} already exists" + (f": {detail}" if detail else ""))


class HasDependents(PermanentError):
    """Others read from it: remove them first, or say ``--cascade``."""

    def __init__(self, name: str, dependents: Iterable[str]) -> None:
        self.name, self.dependents = name, tuple(sorted(dependents))
        super().__init__(
            f"{name!r} is used by {', '.join(self.dependents)}; remove these first or use --cascade"
        )


class BusyElsewhere(TemporaryError):
    """Another process works on the same instance right now: wait for it, then try again."""

    def __init__(self, name: str, doing: str) -> None:
        self.name, self.doing = name, doing
        super().__init__(f"{name!r} is being {doing} by another flow run; wait for it to end")


class MovedOn(PermanentError):
    """What was planned on has changed since: plan again, and look at the new plan."""

    def __init__(self, name: str, planned: int, found: int) -> None:
        self.name, self.planned, self.found = name, planned, found
        super().__init__(
            f"{name!r} has changed since the plan was made: {_state(planned)} then, "
            f"{_state(found)} now; plan again"
        )


def _state(version: int) -> str:
    return f"version {version}" if version else "absent"


class WrongLifecycle(PermanentError):
    """Not possible while the instance is in this part of its life: bring it out of it first."""

    def __init__(self, name: str, lifecycle: str, wanted: Iterable[str]) -> None:
        self.name, self.lifecycle = name, str(lifecycle)
        wished = " or ".join(str(item) for item in wanted)
        super().__init__(f"{name!r} is {lifecycle}; it must be {wished} for this")


class WrongDatabase(PermanentError):
    """A worker of another home took the run: give each home a Prefect server of its own."""

    def __init__(self, wanted: str, found: str) -> None:
        self.wanted, self.found = wanted, found
        super().__init__(
            f"this run is for the database {wanted}, and its worker serves {found}: two homes use "
            "one Prefect server; give each a server of its own. Nothing was changed"
        )


class DefinitionUnavailable(PermanentError):
    """A definition that an instance names cannot be used: install or pin another version."""

    def __init__(self, kind: str, name: str, version: str | None, detail: str) -> None:
        self.kind, self.name, self.version = kind, name, version
        label = f"{name} {version}" if version else name
        super().__init__(f"{kind} definition {label!r} cannot be used: {detail}")


class DataRejected(PermanentError):
    """Data that a run produced or read breaks its contract: the run fails, nothing is published.

    ``report`` holds the counts and a sample of the offending rows, JSON-serialisable.
    """

    def __init__(self, message: str, report: dict[str, object] | None = None) -> None:
        self.report = report or {}
        super().__init__(message)


class Unavailable(TemporaryError):
    """A service that is needed does not answer: start it (``instances up``) and try again."""

    def __init__(self, service: str, detail: str) -> None:
        self.service, self.detail = service, detail
        super().__init__(f"{service} is not available: {detail}")


class Interrupted(TemporaryError):
    """The run lost its claim while it worked (dead or cancelled for us): it publishes nothing."""
