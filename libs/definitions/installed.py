"""Discovery of installed definitions by their entry points."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points

from prefect_instances.libs.core.aggregation import add_method
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.guardrails import Guardrail
from prefect_instances.libs.definitions.op import OpMacro
from prefect_instances.libs.definitions.registry import Broken, Registry

GROUP = "prefect_instances.definitions"
"""The entry point group.

By convention an entry is named ``<kind>.<name>``; the kind is one of ``pipeline``, ``store``,
``accessor``, ``op``, ``op_macro``, ``ml_module``, ``optimizer`` or ``executor``; a further version
of the same name adds it: ``op.MEAN.2.0.0``.
"""

GUARDRAILS = "prefect_instances.guardrails"
"""The entry point group of additional kinds of guardrail contract."""


AGGREGATIONS = "prefect_instances.aggregations"
"""The entry point group of additional aggregation methods; an entry's name is the method's."""


@cache
def load_installed() -> Registry:
    """Return the installed definitions; they are discovered once in each process."""
    return discover()


def discover(group: str = GROUP) -> Registry:
    """Load every entry point of ``group``; an entry point that fails is listed in ``broken``."""
    registry = Registry()
    for entry in sorted(entry_points(group=GUARDRAILS)):
        _load(registry, entry, _add_guardrail)
    for entry in sorted(entry_points(group=AGGREGATIONS)):
        _load(registry, entry, partial(_add_aggregation, entry.name))
    for entry in sorted(entry_points(group=group)):
        _load(registry, entry, _add_definition)
    _remove_broken_macros(registry)
    return registry


def _load(registry: Registry, entry: EntryPoint, add: Callable[[Registry, object], None]) -> None:
    try:
        add(registry, entry.load())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        text = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {text[0]}"
        registry.broken.append(Broken(entry.name, entry.value, reason))


def _add_guardrail(registry: Registry, loaded: object) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, Guardrail)):
        raise TypeError("is not a Guardrail class")
    if registry.guardrails.setdefault(loaded.name, loaded) is not loaded:
        raise TypeError(f"{loaded.name} is registered already")


def _add_aggregation(name: str, _: Registry, loaded: object) -> None:
    add_method(name, loaded)


def _add_definition(registry: Registry, loaded: object) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, Definition)):
        raise TypeError("is not a Definition class")
    registry.add(loaded)


def _remove_broken_macros(registry: Registry) -> None:
    """Move macros that cannot be expanded to ``broken``, and those that depend on them."""
    # It imports polars, which read-only commands do not need.
    from prefect_instances.libs.definitions.expressions import list_macro_problems

    for definition in registry.list():
        if not issubclass(definition, OpMacro):
            continue
        pinned = registry.preferring({(definition.kind, definition.name): definition.version})
        if problems := list_macro_problems(definition, pinned):
            registry.remove(definition)
            target = f"{definition.__module__}:{definition.__qualname__}"
            error = str(InvalidSpec(problems))
            registry.broken.append(Broken(f"op_macro.{definition.name}", target, error))
