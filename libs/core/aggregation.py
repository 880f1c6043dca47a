"""Aggregation of flow statuses into the status of an instance.

A definition declares a contract, which names one of the registered pure functions (methods).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import FlowStatus

DEFAULT_PRIORITY = (FlowStatus.ERROR, FlowStatus.STALE, FlowStatus.RUNNING, FlowStatus.READY)


@dataclass(frozen=True, slots=True)
class AggregationContract:
    """An aggregation method and the statuses from most to least severe, READY last."""

    method: str = "min_severity"
    priority: tuple[FlowStatus, ...] = DEFAULT_PRIORITY

    def document(self) -> dict[str, object]:
        """Return the contract as JSON data, with the keys that definitions and tables use."""
        return {
            "aggregation_method": self.method,
            "status_priority": [s.value for s in self.priority],
        }


Method = Callable[[frozenset[FlowStatus], tuple[FlowStatus, ...]], FlowStatus]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register an aggregation method under the name that contracts use."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


@method("min_severity")
def min_severity(statuses: frozenset[FlowStatus], priority: tuple[FlowStatus, ...]) -> FlowStatus:
    """Return the first status of ``priority`` that any flow has; READY only if all are READY.

    A status that ``priority`` does not name ranks just before READY, so an instance with such a
    flow is never READY. Several such statuses rank in the order of ``FlowStatus``.
    """
    named = [status for status in priority if status is not FlowStatus.READY]
    unnamed = [s for s in FlowStatus if s not in named and s is not FlowStatus.READY]
    return next((s for s in (*named, *unnamed) if s in statuses), FlowStatus.READY)


def add_method(name: str, function: object) -> None:
    """Register an aggregation method of a package under a name.

    Raises TypeError if it is not a function, or if another one has the name. A method takes the set
    of the flows' statuses and the contract's priority, and returns the status of the instance.
    """
    if not callable(function) or isinstance(function, type):
        raise TypeError("is not a function of statuses and priority")
    if METHODS.setdefault(name, function) is not function:
        raise TypeError(f"{name} is registered already")


def aggregate(statuses: Iterable[FlowStatus], contract: AggregationContract) -> FlowStatus:
    """Compute an instance's status from its flows' statuses; NOT_INITIALIZED without flows.

    A method that is not installed any more, or that fails, is replaced by ``min_severity``: a
    package must not stop changes of state.
    """
    present = frozenset(statuses)
    if not present:
        return FlowStatus.NOT_INITIALIZED
    function = METHODS.get(contract.method, min_severity)
    try:
        return FlowStatus(function(present, contract.priority))
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        return min_severity(present, contract.priority)


def read_contract(document: Mapping[str, Any]) -> AggregationContract:
    """Build a contract from its stored document, which was checked when it was stored.

    Its method may no longer be installed.
    """
    return AggregationContract(
        str(document["aggregation_method"]),
        tuple(FlowStatus(status) for status in document["status_priority"]),
    )


def parse_contract(document: Mapping[str, object]) -> AggregationContract:
    """Parse a ``status_aggregation_contract``.

    Raises InvalidSpec, which lists every fault.
    """
    problems = [
        *_method_problems(document),
        *_priority_problems(document),
        *_key_problems(document),
    ]
    if problems:
        raise InvalidSpec(problems)
    listed = document.get("status_priority", [s.value for s in DEFAULT_PRIORITY])
    assert isinstance(listed, (list, tuple))
    return AggregationContract(
        str(document.get("aggregation_method", "min_severity")),
        tuple(FlowStatus(status) for status in listed),
    )


def _key_problems(document: Mapping[str, object]) -> list[Problem]:
    unknown = sorted(set(document) - {"aggregation_method", "status_priority"})
    return [Problem(key, "is not a field of a status aggregation contract") for key in unknown]


def _method_problems(document: Mapping[str, object]) -> list[Problem]:
    name = document.get("aggregation_method", "min_severity")
    if isinstance(name, str) and name in METHODS:
        return []
    return [Problem("aggregation_method", f"{name!r} is not one of {', '.join(sorted(METHODS))}")]


def _priority_problems(document: Mapping[str, object]) -> list[Problem]:
    listed = document.get("status_priority", [s.value for s in DEFAULT_PRIORITY])
    if not isinstance(listed, (list, tuple)) or not listed:
        return [Problem("status_priority", "must be a list of statuses that ends in READY")]
    known = {status.value for status in FlowStatus}
    problems = [
        Problem(f"status_priority[{at}]", f"{status!r} is not one of {', '.join(sorted(known))}")
        for at, status in enumerate(listed)
        if not isinstance(status, str) or status not in known
    ]
    problems += [
        Problem(f"status_priority[{at}]", f"{status!r} is repeated")
        for at, status in enumerate(listed)
        if status in listed[:at]
    ]
    if listed[-1] != FlowStatus.READY:
        problems.append(Problem("status_priority", "must end in READY"))
    return problems
