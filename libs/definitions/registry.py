"""The definitions that are installed, found by their entry points."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass

import semver

from libs.core.errors import DefinitionUnavailable, InvalidSpec, Problem
from libs.definitions.base import Definition, DefinitionKind, closest
from libs.definitions.guardrails import BUILT_IN, Declared, Guardrail

GROUP = "prefect_instances.definitions"
"""The entry point group; by convention an entry is named ``<pipeline|store|accessor>.<name>``."""


GUARDRAILS = "prefect_instances.guardrails"
"""The entry point group of kinds of guardrail contract beyond the built-in ones."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An entry point that yields no usable definition, and why."""

    entry_point: str
    target: str
    error: str

    def __str__(self) -> str:
        return f"{self.entry_point} ({self.target}): {self.error}"


class Registry:
    """Definition classes by kind, name and version; several versions live side by side.

    ``broken`` keeps the entry points that failed to load; they disturb no others.
    """

    def __init__(self, definitions: Iterable[type[Definition]] = ()) -> None:
        """A registry of ``definitions``; raises ``InvalidSpec`` as ``add`` does."""
        self._classes: dict[tuple[DefinitionKind, str], dict[str, type[Definition]]] = {}
        self.broken: list[Broken] = []
        self.guardrails: dict[str, type[Guardrail]] = {kind.name: kind for kind in BUILT_IN}
        for definition in definitions:
            self.add(definition)

    @classmethod
    def discover(cls, group: str = GROUP) -> Registry:
        """Load every entry point of ``group``; one that fails is kept in ``broken``."""
        registry = cls()
        for entry in sorted(importlib.metadata.entry_points(group=GUARDRAILS)):
            registry._load_guardrail(entry)
        for entry in sorted(importlib.metadata.entry_points(group=group)):
            registry._load(entry)
        return registry

    def add(self, definition: type[Definition]) -> None:
        """Take in a class; raises ``InvalidSpec`` if it declares itself wrongly or is there."""
        problems = [*definition.declaration_problems(), *self._guardrail_problems(definition)]
        if problems:
            raise InvalidSpec(problem.under(definition.__qualname__) for problem in problems)
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
        """The class of that name and version; ``""`` means the newest.

        The newest is the highest release; a pre-release is taken only if there is nothing else.
        Raises ``DefinitionUnavailable`` that says what is installed.
        """
        versions = self._classes.get((kind, name))
        if not versions:
            raise DefinitionUnavailable(kind.value, name, version, self._unknown(kind, name))
        if not version:
            return versions[max(versions, key=_precedence)]
        if version not in versions:
            there = ", ".join(sorted(versions, key=_precedence))
            detail = f"installed are {there}{self._broken_like(name)}"
            raise DefinitionUnavailable(kind.value, name, version, detail)
        return versions[version]

    def list(self) -> tuple[type[Definition], ...]:
        """All classes by kind, name and ascending version."""
        return tuple(
            versions[version]
            for _, versions in sorted(self._classes.items())
            for version in sorted(versions, key=_precedence)
        )

    def _load_guardrail(self, entry: importlib.metadata.EntryPoint) -> None:
        try:
            loaded = entry.load()
            if not (isinstance(loaded, type) and issubclass(loaded, Guardrail)):
                raise TypeError("is not a Guardrail class")
            if self.guardrails.setdefault(loaded.name, loaded) is not loaded:
                raise TypeError(f"{loaded.name} is registered already")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            text = str(error).strip().splitlines() or [""]
            self.broken.append(
                Broken(entry.name, entry.value, f"{type(error).__name__}: {text[0]}")
            )

    def _load(self, entry: importlib.metadata.EntryPoint) -> None:
        try:
            loaded = entry.load()
            if not (isinstance(loaded, type) and issubclass(loaded, Definition)):
                raise TypeError("is not a Definition class")
            self.add(loaded)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            text = str(error).strip().splitlines() or [""]
            reason = f"{type(error).__name__}: {text[0]}"
            self.broken.append(Broken(entry.name, entry.value, reason))

    def _unknown(self, kind: DefinitionKind, name: str) -> str:
        names = sorted(known for a_kind, known in self._classes if a_kind is kind)
        there = f"installed are {', '.join(names)}" if names else "none of its kind is installed"
        return there + closest(name, names) + self._broken_like(name)

    def _broken_like(self, name: str) -> str:
        about = [str(broken) for broken in self.broken if name in broken.entry_point]
        return f"; failed to load: {'; '.join(about)}" if about else ""


def _precedence(version: str) -> tuple[bool, semver.Version]:
    parsed = semver.Version.parse(version)
    return parsed.prerelease is None, parsed
