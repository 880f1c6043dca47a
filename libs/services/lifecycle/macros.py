"""Save an experiment's expression as a macro: check it, give it a version, store it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import semver
from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.db.repositories.resources import (
    Named,
    get_instance,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.versions import select_labels
from prefect_instances.libs.definitions.base import DefinitionKind
from prefect_instances.libs.definitions.expressions import (
    Program,
    compile_expression,
    list_macro_problems,
    name_constants,
)
from prefect_instances.libs.definitions.op import NAME, Argument, Function
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.definitions.saved import SavedMacro, saved_macro
from prefect_instances.libs.services.composition.catalog import (
    add_saved_macros,
    definition_id,
    read_recorded_calls,
    register,
)
from prefect_instances.libs.services.composition.instance_types.experiments import (
    convert_to_expression,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import ExperimentSpec, parse_spec

FIRST = "1.0.0"
LONGEST = 80
"""Characters that a name or a version may have."""


@dataclass(frozen=True, slots=True)
class MacroRequest:
    """A request to save the expression of an experiment as a macro.

    ``parameters`` are constants of the expression that become arguments, with their values as
    defaults. Without ``version`` it is the first version, or the next major one.
    """

    experiment: str
    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """A macro, and whether saving creates it or leaves it unchanged."""

    macro: type[SavedMacro]
    action: str

    def document(self) -> dict[str, Any]:
        """Convert to a JSON document."""
        return {
            "name": self.macro.name,
            "version": self.macro.version,
            "action": self.action,
            "usage": self.macro.usage(),
            "expression": self.macro.expression,
        }


def plan_macro(services: Services, wish: MacroRequest) -> Saved:
    """Return the macro that saving would create, and change nothing; raise as ``save_macro``."""
    with services.database.read() as session:
        return _planned(session, services.registry, wish)


def save_macro(services: Services, wish: MacroRequest) -> Saved:
    """Save the expression as a macro that expressions can call like installed ones.

    A macro that exists with the same content stays as it is. Raises NotFound, and InvalidSpec with
    every problem: not an experiment, a name that is taken, a parameter that the expression does not
    have, a cycle, an op in another version than the experiment used, another macro that would stop
    working.
    """

    def work(session: Session) -> Saved:
        saved = _planned(session, services.registry, wish)
        register(session, saved.macro, services.now())
        return saved

    return services.database.transact(work)


def _planned(session: Session, installed: Registry, wish: MacroRequest) -> Saved:
    named = get_instance(session, wish.experiment)
    spec = _spec(session, named)
    registry = add_saved_macros(session, installed)
    spec = convert_to_expression(registry, spec)
    program = _program(spec, registry)
    problems = [*_name_problems(installed, wish), *_version_problems(wish)]
    problems += _calls_problems(read_recorded_calls(session, named.id), program)
    try:
        content = _content(spec, program, wish, registry)
    except InvalidSpec as error:
        raise InvalidSpec([*problems, *error.problems]) from None
    if problems:
        raise InvalidSpec(problems)
    saved = _numbered(session, registry, wish, content, f"Saved from {named.label}.")
    if problems := list(_use_problems(registry, saved.macro)):
        raise InvalidSpec(problems)
    return saved


def _spec(session: Session, named: Named) -> ExperimentSpec:
    version = select_newest_version(session, named.id)
    spec = parse_spec(version.spec_json) if version else None
    if not isinstance(spec, ExperimentSpec):
        text = f"{named.label!r} is a {named.type}, not an experiment"
        raise InvalidSpec([Problem("experiment", text)])
    return spec


def _program(spec: ExperimentSpec, registry: Registry) -> Program:
    """Compile the expression with the newest versions of what it calls, as a macro is compiled."""
    try:
        return compile_expression(spec.expression, registry)
    except InvalidSpec as error:
        raise InvalidSpec(problem.under("experiment") for problem in error.problems) from None


def _name_problems(installed: Registry, wish: MacroRequest) -> Iterable[Problem]:
    if not NAME.fullmatch(wish.name) or len(wish.name) > LONGEST:
        text = f"is not upper case letters, digits and _, at most {LONGEST}"
        yield Problem("name", f"{wish.name!r} {text}")
        return
    for each in installed.list():
        if issubclass(each, Function) and wish.name in (each.name, *each.aliases):
            text = f"{wish.name!r} is the name of {each.kind} {each.name} {each.version}"
            yield Problem("name", f"{text}, which is installed; choose another")
            return


def _version_problems(wish: MacroRequest) -> Iterable[Problem]:
    if not wish.version:
        return
    if not semver.Version.is_valid(wish.version) or len(wish.version) > LONGEST:
        yield Problem("version", f"{wish.version!r} is not a semantic version like 1.0.0")


def _calls_problems(
    seen: Mapping[tuple[DefinitionKind, str], str], program: Program
) -> Iterable[Problem]:
    """Yield a problem for each call whose version differs from the experiment's."""
    for each in program.calls:
        kept = seen.get((each.kind, each.name), each.version)
        if kept != each.version:
            text = f"it uses {each.name} {kept}, but a macro uses the newest, {each.version}"
            yield Problem("experiment", f"{text}: apply the experiment with that one first")


def _content(
    spec: ExperimentSpec, program: Program, wish: MacroRequest, registry: Registry
) -> dict[str, Any]:
    """Return expression, arguments and defaults; fields first, then former constants."""
    named = name_constants(spec.expression, wish.parameters, registry)
    fields = dict.fromkeys(program.names, Argument.SERIES)
    return {
        "expression": named.expression,
        "arguments": [[name, kind.value] for name, kind in {**fields, **named.arguments}.items()],
        "defaults": [float(value) for value in wish.parameters.values()],
    }


def _numbered(
    session: Session,
    registry: Registry,
    wish: MacroRequest,
    content: Mapping[str, Any],
    description: str,
) -> Saved:
    """Return the macro with its version: the existing one if it computes the same, or the next."""
    ours = (each for each in registry.list() if issubclass(each, SavedMacro))
    before = {each.version: each for each in ours if each.name == wish.name}
    known = before.get(wish.version or next(reversed(before), ""))
    if known and known.computes() == content:
        return Saved(known, "unchanged")
    found = select_labels(session, definition_id(DefinitionKind.OP_MACRO, wish.name))
    labels = [semver.Version.parse(label) for label in found]
    version = wish.version or str(max(labels).bump_major() if labels else FIRST)
    if version in map(str, labels):
        raise InvalidSpec([Problem("version", f"{wish.name} {version} already exists")])
    said = {**content, "name": wish.name, "version": version, "description": description}
    return Saved(saved_macro(said), "create")


def _use_problems(registry: Registry, macro: type[SavedMacro]) -> Iterable[Problem]:
    """Yield the problems of the macro itself, and of macros that call it."""
    after = registry.extended([macro])
    yield from list_macro_problems(macro, after)
    for other in after.list():
        if issubclass(other, SavedMacro) and other.name != macro.name:
            pin = {(other.kind, other.name): other.version}
            if not list_macro_problems(other, registry.preferring(pin)):
                for problem in list_macro_problems(other, after.preferring(pin)):
                    yield Problem("name", f"{other.name} {other.version} calls it: {problem}")
