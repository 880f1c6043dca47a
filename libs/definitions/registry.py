"""A registry of definitions: classes by kind, name and version."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import semver

from prefect_instances.libs.core.errors import DefinitionUnavailable, InvalidSpec, Problem
from prefect_instances.libs.definitions.base import Definition, DefinitionKind
from prefect_instances.libs.definitions.guardrails import BUILT_IN, Declared, Guardrail
from prefect_instances.libs.definitions.op import Function
from prefect_instances.libs.definitions.problems import suggest_closest

FUNCTIONS = frozenset({DefinitionKind.OP, DefinitionKind.OP_MACRO})
"""The kinds of definition that expressions call."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry point without a usable definition, and the reason."""

    entry_point: str
    target: str
    error: str

    def __str__(self) -> str:
        return f"{self.entry_point} ({self.target}): {self.error}"


class Registry:
    """Definition classes by kind, name and version; several versions can coexist.

    ``broken`` lists the entry points that failed to load; they do not affect the others.
    """

    def __init__(self, definitions: Iterable[type[Definition]] = ()) -> None:
        """Create a registry of ``definitions``; raise ``InvalidSpec`` as ``add`` does."""
        self._classes: dict[tuple[DefinitionKind, str], dict[str, type[Definition]]] = {}
        self._preferred: Mapping[tuple[DefinitionKind, str], str] = {}
        self.broken: list[Broken] = []
        self.guardrails: dict[str, type[Guardrail]] = {kind.name: kind for kind in BUILT_IN}
        for definition in definitions:
            self.add(definition)

    def remove(self, definition: type[Definition]) -> None:
        """Remove a class."""
        key = (definition.kind, definition.name)
        del self._classes[key][definition.version]
        if not self._classes[key]:
            del self._classes[key]

    def preferring(self, versions: Mapping[tuple[DefinitionKind, str], str]) -> Registry:
        """Return a copy whose ``get`` returns these versions if the caller names none."""
        other = copy.copy(self)
        other._preferred = {**self._preferred, **versions}
        return other

    def extended(self, definitions: Iterable[type[Definition]]) -> Registry:
        """Return a copy with further definitions; those that clash are listed in ``broken``."""
        other = copy.copy(self)
        other._classes = {key: {**versions} for key, versions in self._classes.items()}
        other.broken = [*self.broken]
        for definition in definitions:
            try:
                other.add(definition)
            except InvalidSpec as error:
                label = f"{definition.name} {definition.version}"
                other.broken.append(Broken(f"saved {label}", "database", str(error)))
        return other

    def add(self, definition: type[Definition]) -> None:
        """Add a class; raise ``InvalidSpec`` if its declaration is wrong or it is already there."""
        problems = [*definition.declaration_problems(), *self._guardrail_problems(definition)]
        if problems:
            raise InvalidSpec(problem.under(definition.__qualname__) for problem in problems)
        for kind in FUNCTIONS - {definition.kind}:
            if definition.kind in FUNCTIONS and (kind, definition.name) in self._classes:
                message = f"{definition.name} is already the name of a {kind} in expressions"
                raise InvalidSpec([Problem(definition.__qualname__, message)])
        versions = self._classes.setdefault((definition.kind, definition.name), {})
        other = versions.get(definition.version)
        if other is not None and other is not definition:
            label = f"{definition.name} {definition.version}"
            message = f"{label} is already defined by {other.__module__}.{other.__qualname__}"
            raise InvalidSpec([Problem(definition.__qualname__, message)])
        versions[definition.version] = definition

    def _guardrail_problems(self, definition: type[Definition]) -> Iterable[Problem]:
        for at, document in enumerate(definition.guardrail_contracts):
            try:
                Declared.of(document).made(self.guardrails, definition.name)
            except InvalidSpec as error:
                for problem in error.problems:
                    yield problem.under(f"guardrail_contracts[{at}]")

    def get(self, kind: DefinitionKind, name: str, version: str = "") -> type[Definition]:
        """Return the class of that name and version; ``""`` means the preferred, else the newest.

        The newest is the highest release; a pre-release is used only if there is no release. Raises
        ``DefinitionUnavailable`` with the installed names or versions.
        """
        versions = self._classes.get((kind, name))
        version = version or self._preferred.get((kind, name), "")
        if not versions:
            raise DefinitionUnavailable(kind.value, name, version, self._unknown(kind, name))
        if not version:
            return versions[max(versions, key=_precedence)]
        if version not in versions:
            there = ", ".join(sorted(versions, key=_precedence))
            advice = "install that version, or pin another"
            detail = f"installed are {there}{self._broken_like(name)}; {advice}"
            raise DefinitionUnavailable(kind.value, name, version, detail)
        return versions[version]

    def function(self, name: str) -> Function | str:
        """Return the function that an expression calls by that name or alias, or an error text.

        Raises ``DefinitionUnavailable`` if a preferred version of it is not installed.
        """
        upper = name.upper()
        named = [key for key in (*self._classes, *self._preferred) if key[1] == upper]
        also = [key for key in self._functions() if upper in self._newest(key).aliases]
        keys = {key for key in named if key[0] in FUNCTIONS} or {*also}
        if len(keys) > 1:
            names = " or ".join(sorted(f"{kind} {known}" for kind, known in keys))
            return f"{name!r} may mean {names}"
        if not keys:
            aliases = [alias for key in self._functions() for alias in self._newest(key).aliases]
            known = [*(key[1] for key in self._functions()), *aliases]
            broken = self._broken_like(upper)
            return f"there is no operator {name!r}{suggest_closest(upper, known)}{broken}"
        definition = self.get(*keys.pop())
        assert issubclass(definition, Function)
        return definition()

    def _functions(self) -> Iterable[tuple[DefinitionKind, str]]:
        return [key for key in self._classes if key[0] in FUNCTIONS]

    def _newest(self, key: tuple[DefinitionKind, str]) -> type[Function]:
        versions = self._classes[key]
        newest = versions[max(versions, key=_precedence)]
        assert issubclass(newest, Function)
        return newest

    def list(self) -> tuple[type[Definition], ...]:
        """Return all classes by kind, name and ascending version."""
        return tuple(
            versions[version]
            for _, versions in sorted(self._classes.items())
            for version in sorted(versions, key=_precedence)
        )

    def _unknown(self, kind: DefinitionKind, name: str) -> str:
        names = sorted(known for a_kind, known in self._classes if a_kind is kind)
        there = f"installed are {', '.join(names)}" if names else "none of its kind is installed"
        advice = "; install the package that contains it"
        return there + suggest_closest(name, names) + (self._broken_like(name) or advice)

    def _broken_like(self, name: str) -> str:
        about = [str(broken) for broken in self.broken if name in broken.entry_point]
        return f"; failed to load: {'; '.join(about)}; repair or reinstall it" if about else ""


def _precedence(version: str) -> tuple[bool, semver.Version]:
    parsed = semver.Version.parse(version)
    return parsed.prerelease is None, parsed
