"""Base class of the kinds of guardrail contract, with its evidence and its reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.definitions.problems import build_config_problem, suggest_closest

if TYPE_CHECKING:
    import polars as pl

    from prefect_instances.libs.definitions.optimizer import Constraints


class Gate(StrEnum):
    """The points at which contracts are checked; ``version.audit`` has audits only."""

    CREATE = "instance.create"
    START = "run.start"
    WRITE = "data.write"
    AUDIT = "version.audit"


class GuardrailMode(StrEnum):
    """The effect of a broken contract: only report it, or block."""

    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class InputFacts:
    """Facts about an upstream at a gate.

    ``columns`` (in order) and ``last_date`` are those of the version that is read, None if nothing
    is published. ``point_in_time`` says whether its accessor can limit reads by knowledge time,
    None if that is unknown. ``frame`` returns its rows as a run reads them (date x symbol, long);
    None at ``instance.create`` and for an upstream that stores no rows.
    """

    resource: str
    role: str
    columns: tuple[str, ...] | None = None
    last_date: date | None = None
    point_in_time: bool | None = None
    frame: Callable[[], pl.LazyFrame] | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All the facts that a contract may check; those missing at a gate are None or empty.

    ``flow`` is the kind of flow that runs, empty at ``instance.create``; ``now`` (aware) is the
    start of the run, at ``data.write`` the present; ``as_of`` the last day of data that was
    requested. ``frame`` is the data to be written: (date x symbol) long; None for a model. If a
    version only grows it holds the new rows, and ``kept_rows`` counts the others. ``before``
    returns the rows of the current version that the new one should still contain; None if there are
    none. ``metrics`` are those of the run, ``bounds`` those that an optimizer's weights keep at
    ``instance.create``, ``configured`` is the document of the instance.
    """

    gate: Gate
    instance: str
    flow: str
    now: datetime
    as_of: date | None = None
    inputs: Sequence[InputFacts] = ()
    frame: pl.DataFrame | None = None
    kept_rows: int = 0
    before: Callable[[], pl.DataFrame] | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    bounds: Constraints | None = None
    configured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def today(self) -> date:
        """Return the day to judge data on: ``as_of`` if it is set, else the present day (UTC)."""
        return self.as_of or self.now.date()

    def in_role(self, role: str) -> list[InputFacts]:
        """Return the upstreams in a role; all of them if it is empty."""
        return [item for item in self.inputs if role in ("", item.role)]


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation of a contract: a sentence, and numbers (JSON) that quantify it."""

    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Guardrail(ABC):
    """Base of the kinds of contract; one class for each kind, registered under ``name``.

    A kind names the gates at which it can judge, the default one first, and the flows whose runs it
    judges (empty: all). Its parameters are a nested pydantic ``Config``.
    """

    name: ClassVar[str]
    gates: ClassVar[tuple[Gate, ...]]
    flows: ClassVar[tuple[str, ...]] = ()
    usual_flow: ClassVar[str] = ""
    """The flow to judge if a contract names none; empty for all of ``flows``."""

    class Config(BaseModel):
        """The parameters; a kind without parameters uses this empty model."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config

    def __init__(self, config: Mapping[str, object] | None = None) -> None:
        """Validate ``config``; raise ``InvalidSpec`` with every problem in it."""
        try:
            self.config = self.Config.model_validate(dict(config or {}))
        except ValidationError as error:
            fields = self.Config.model_fields
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidSpec(build_config_problem(detail, fields) for detail in found) from None

    def judges(self, evidence: Evidence) -> bool:
        """Return True if the run is of one of ``flows``, or if nothing runs yet.

        A kind that needs more to judge, such as rows, overrides it.
        """
        return not evidence.flow or not self.flows or evidence.flow in self.flows

    @abstractmethod
    def check(self, evidence: Evidence) -> Iterable[Violation]:
        """Return every violation of the contract by the evidence; nothing if it is satisfied."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that applies to an instance.

    ``flow``, if not empty, limits it to runs of one kind of flow; ``origin`` says who declared it:
    a definition (``pipeline market_data``) or the instance.
    """

    rule: Guardrail
    gate: Gate
    mode: GuardrailMode
    flow: str = ""
    origin: str = "the instance"

    @property
    def key(self) -> tuple[str, str]:
        """Return the key by which an instance's own contract replaces a definition's."""
        return self.rule.name, self.gate


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one contract at its gate, as it is stored."""

    kind: str
    gate: Gate
    mode: GuardrailMode
    passed: bool
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> bool:
        """Return True if the contract is broken and its mode is to block."""
        return not self.passed and self.mode is GuardrailMode.BLOCK

    def __str__(self) -> str:
        return f"{self.kind} at {self.gate}: {self.message}"


def judge(contracts: Iterable[Contract], evidence: Evidence) -> list[Report]:
    """Return the reports of the contracts that apply at the evidence's gate."""
    return [
        _report(contract, list(contract.rule.check(evidence)))
        for contract in contracts
        if contract.gate is evidence.gate
        and contract.flow in ("", evidence.flow)
        and contract.rule.judges(evidence)
    ]


def _report(contract: Contract, broken: Sequence[Violation]) -> Report:
    details: dict[str, Any] = {"declared_by": contract.origin}
    if broken:
        details["broken"] = [{"message": one.message, **one.details} for one in broken]
    return Report(
        kind=contract.rule.name,
        gate=contract.gate,
        mode=contract.mode,
        passed=not broken,
        message="; ".join(one.message for one in broken) or "kept",
        details=details,
    )


@dataclass(frozen=True, slots=True)
class Declared:
    """A contract as written in a document: kind by name; an empty gate means the default gate."""

    kind: str
    gate: str = ""
    mode: str = GuardrailMode.BLOCK.value
    flow: str = ""
    config: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Declared:
        """Read a contract that a definition declares; raise ``InvalidSpec`` with every problem."""
        unknown = sorted(set(document) - {"kind", "gate", "mode", "flow", "config"})
        problems = [Problem(name, "is not a field of a guardrail contract") for name in unknown]
        if not document.get("kind"):
            problems.append(Problem("kind", "is missing"))
        config = document.get("config", {})
        if not isinstance(config, Mapping):
            problems.append(Problem("config", "must be a mapping of parameters"))
        if problems or not isinstance(config, Mapping):
            raise InvalidSpec(problems)
        named = {
            key: str(document[key]) for key in ("kind", "gate", "mode", "flow") if key in document
        }
        return cls(**named, config=config)

    def made(self, kinds: Mapping[str, type[Guardrail]], origin: str) -> Contract:
        """Return the contract, ready to judge; raise ``InvalidSpec`` with every problem.

        ``kinds`` are the known kinds of guardrail by name. ``origin`` says who declared it.
        """
        rule = kinds.get(self.kind)
        if rule is None:
            known = ", ".join(sorted(kinds))
            closest = suggest_closest(self.kind, kinds)
            text = f"there is no kind {self.kind!r}{closest} (there are {known})"
            raise InvalidSpec([Problem("kind", text)])
        problems = []
        gate = self.gate or rule.gates[0].value
        if gate not in rule.gates:
            problems.append(Problem("gate", f"{self.kind} is checked at {' or '.join(rule.gates)}"))
        if self.mode not in frozenset(GuardrailMode):
            problems.append(Problem("mode", "must be warn or block"))
        if self.flow and rule.flows and self.flow not in rule.flows:
            problems.append(Problem("flow", f"{self.kind} judges {' or '.join(rule.flows)}"))
        try:
            configured = rule(self.config)
        except InvalidSpec as error:
            raise InvalidSpec([*problems, *error.problems]) from None
        if problems:
            raise InvalidSpec(problems)
        flow = self.flow or rule.usual_flow
        return Contract(configured, Gate(gate), GuardrailMode(self.mode), flow, origin)
