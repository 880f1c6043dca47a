"""Errors: what went wrong, whether a retry helps, and what to do about it.

Every error's text is one line that a person can act on. Adapters translate vendor exceptions
(``raise ... from``); no vendor exception leaves its adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class InstancesError(Exception):
    """Base class of all errors of this project; catch it to show the error to a person."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state, so that unpickling does not depend on the constructor's parameters."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[InstancesError], arguments: tuple[object, ...]) -> InstancesError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class PermanentError(InstancesError):
    """An error that a retry cannot heal: first correct what the message names."""


class TemporaryError(InstancesError):
    """An error because something was not available: a retry is safe and may succeed."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in a document that a person wrote.

    ``path`` locates it from the top of the document (``instances[2].schedule.timezone``).
    ``message`` says what is wrong and what would be right.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, prefix: str) -> Problem:
        """Return the same problem with its path below ``prefix``."""
        if not prefix or not self.path:
            return Problem(prefix or self.path, self.message)
        joint = "" if self.path.startswith("[") else "."
        return Problem(f"{prefix}{joint}{self.path}", self.message)


class InvalidSpec(PermanentError):
    """The document has faults: correct each of ``problems``; nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"{head}: " + "; ".join(str(problem) for problem in self.problems))


class NotFound(PermanentError):
    """The named thing does not exist: check its name or id.

    ``nearest`` are existing names that look like it. ``owner`` says of what it is, and what there
    is instead.
    """

    def __init__(self, kind: str, name: str, nearest: Sequence[str] = (), owner: str = "") -> None:
        self.kind, self.name, self.nearest = kind, name, tuple(nearest)
        of = f" of {owner}" if owner else ""
        meant = f", did you mean {' or '.join(nearest)}?" if nearest else ""
        hint = "; `instances list` shows what exists" if kind == "instance" else ""
        super().__init__(f"no {kind} {name!r}{of}{meant}{hint}")


class NothingHere(PermanentError):
    """The home has no database yet: create it with ``instances up``."""

    def __init__(self, home: object) -> None:
        self.home = home
        super().__init__(f"{home} has no database yet; start with `instances up`")


class AlreadyExists(PermanentError):
    """The name is in use in its project: choose another, or update the existing one."""

    def __init__(self, kind: str, name: str, detail: str = "") -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} already exists" + (f": {detail}" if detail else ""))


class HasDependents(PermanentError):
    """Other instances read from it: remove them first, or use ``--cascade``."""

    def __init__(self, name: str, dependents: Iterable[str]) -> None:
        self.name, self.dependents = name, tuple(sorted(dependents))
        super().__init__(
            f"{name!r} is used by {', '.join(self.dependents)}; remove these first or use --cascade"
        )


class BusyElsewhere(TemporaryError):
    """Another flow run is changing the same instance: wait for it, then try again."""

    def __init__(self, name: str, doing: str) -> None:
        self.name, self.doing = name, doing
        super().__init__(f"{name!r} is being {doing} by another flow run; wait for it to end")


class MovedOn(PermanentError):
    """The instance changed after the plan was made: plan again and check the new plan."""

    def __init__(self, name: str, planned: int, found: int) -> None:
        self.name, self.planned, self.found = name, planned, found
        super().__init__(
            f"{name!r} has changed since the plan was made: {_state(planned)} then, "
            f"{_state(found)} now; plan again"
        )


def _state(version: int) -> str:
    return f"version {version}" if version else "absent"


class WrongLifecycle(PermanentError):
    """The instance's lifecycle state does not allow this: change that state first."""

    def __init__(self, name: str, lifecycle: str, wanted: Iterable[str]) -> None:
        self.name, self.lifecycle = name, str(lifecycle)
        wished = " or ".join(str(item) for item in wanted)
        super().__init__(f"{name!r} is {lifecycle}; it must be {wished} for this")


class WrongDatabase(PermanentError):
    """A worker of another home received the run: give each home its own Prefect server."""

    def __init__(self, wanted: str, found: str) -> None:
        self.wanted, self.found = wanted, found
        super().__init__(
            f"this run is for the database {wanted}, and its worker serves {found}: two homes use "
            "one Prefect server; give each a server of its own. Nothing was changed"
        )


class DefinitionUnavailable(PermanentError):
    """A definition cannot be used: install it, or pin another version."""

    def __init__(self, kind: str, name: str, version: str | None, detail: str) -> None:
        self.kind, self.name, self.version = kind, name, version
        label = f"{name} {version}" if version else name
        super().__init__(f"{kind} definition {label!r} cannot be used: {detail}")


class DataRejected(PermanentError):
    """Data that a run read or produced break their contract: the run fails, nothing is published.

    ``report`` holds the counts and a sample of the offending rows, JSON-serialisable.
    """

    def __init__(self, message: str, report: dict[str, object] | None = None) -> None:
        self.report = report or {}
        super().__init__(message)


class Unavailable(TemporaryError):
    """A required service does not answer: start it (``instances up``) and try again."""

    def __init__(self, service: str, detail: str) -> None:
        self.service, self.detail = service, detail
        super().__init__(f"{service} is not available: {detail}")


class Interrupted(TemporaryError):
    """The run lost its claim (declared dead, or cancelled): it publishes nothing."""
