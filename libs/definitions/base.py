"""Base class of all definitions; its defaults allow a minimal one of ten lines."""

from __future__ import annotations

import hashlib
import inspect
import sys
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import semver
from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.definitions.flow import (
    FlowSpec,
    LineageContract,
    list_flow_problems,
    list_lineage_contract_problems,
)
from prefect_instances.libs.definitions.problems import build_config_problem

MIN_SEVERITY: Mapping[str, object] = {
    "aggregation_method": "min_severity",
    "status_priority": ["ERROR", "STALE", "RUNNING", "READY"],
}
"""The default status aggregation contract."""


class DefinitionKind(StrEnum):
    """The kinds of definition, by the names used in the database and the CLI."""

    PIPELINE = "PipelineDef"
    STORE = "StoreDef"
    ACCESSOR = "AccessorDef"
    OP = "OpDef"
    OP_MACRO = "OpMacroDef"
    ML_MODULE = "MLModuleDef"
    OPTIMIZER = "PortfolioOptimizerDef"
    EXECUTOR = "ExecutorDef"


OWNERS: Mapping[DefinitionKind, InstanceType] = {
    DefinitionKind.PIPELINE: InstanceType.DATASET,
    DefinitionKind.ML_MODULE: InstanceType.MODEL,
    DefinitionKind.OPTIMIZER: InstanceType.OPTIMIZER,
}
"""The type of instance whose flows, lineage and status a kind of definition may extend.

A signal has the flows of a dataset.
"""


@dataclass(frozen=True, slots=True)
class UpstreamShape:
    """Facts about an upstream that are known without reading its data.

    ``type`` is its instance type (``DatasetInstance``), empty if the reference has a fault, which
    is reported apart; ``columns`` are those of its published
    version in order, ``None`` if it has not published yet; ``symbols`` are all that its
    configuration lets it have, ``None`` if only a run can show them.
    """

    resource: str
    role: str
    type: str
    columns: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CompatibilityRules:
    """The upstreams that a definition accepts.

    ``upstream_types`` names the accepted instance types, empty for any; ``max_upstreams`` is
    ``None`` if there is no limit.
    """

    upstream_types: tuple[str, ...] = ()
    min_upstreams: int = 0
    max_upstreams: int | None = None

    def problems(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return every way ``upstreams`` break the rules, at the path ``upstream_refs``."""
        return [*self._count_problems(len(upstreams)), *self._type_problems(upstreams)]

    def _count_problems(self, count: int) -> list[Problem]:
        if count < self.min_upstreams:
            return [
                Problem("upstream_refs", f"needs at least {self.min_upstreams}, has {count}"),
            ]
        if self.max_upstreams is not None and count > self.max_upstreams:
            limit = f"at most {self.max_upstreams}" if self.max_upstreams else "no upstreams"
            return [Problem("upstream_refs", f"takes {limit}, has {count}")]
        return []

    def _type_problems(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        if not self.upstream_types:
            return []
        allowed = " or ".join(self.upstream_types)
        return [
            Problem(f"upstream_refs[{i}]", f"{shape.resource!r} is a {shape.type}, needs {allowed}")
            for i, shape in enumerate(upstreams)
            if shape.type not in ("", *self.upstream_types)
        ]


class Definitions(Protocol):
    """Lookup of definitions by name: implemented by ``libs.definitions.registry.Registry``."""

    def get(self, kind: DefinitionKind, name: str, version: str = "") -> type[Definition]:
        """Return the class of that name and version, or raise DefinitionUnavailable."""


class Definition(ABC):
    """Base of all definitions; derive from the base of a kind, such as ``Pipeline`` or ``Op``.

    A definition names itself by ``name`` and ``version`` (semver) and describes its parameters by a
    nested pydantic ``Config``. The other class attributes have defaults.
    """

    kind: ClassVar[DefinitionKind]
    name: ClassVar[str]
    version: ClassVar[str]

    input_schema: ClassVar[Mapping[str, str] | None] = None
    """Columns that the input must have and their polars types; None if there is no requirement.

    The input of a pipeline is each of its upstreams; the input of a store or an accessor is the
    output of the pipeline. A module or an optimizer gets data from its flow and declares none.
    """
    output_schema: ClassVar[Mapping[str, str] | None] = None
    """Columns that it always delivers and their polars types; None if only a run shows them."""
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules()
    guardrail_contracts: ClassVar[tuple[Mapping[str, object], ...]] = ()
    flow_specs: ClassVar[tuple[FlowSpec, ...]] = ()
    """Flows added to those of the instance type, and default schedules of the type's own flows."""
    lineage_contracts: ClassVar[tuple[LineageContract, ...]] = ()
    """How its instances depend on their upstreams, one contract for each role."""
    status_aggregation_contract: ClassVar[Mapping[str, object]] = MIN_SEVERITY
    source_modules: ClassVar[tuple[str, ...]] = ()
    """Further modules that hold the definition's code, for ``content_hash``."""

    class Config(BaseModel):
        """The parameters; a definition without parameters uses this empty model."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    config: Config

    def __init__(
        self,
        config: BaseModel | Mapping[str, object] | None = None,
        registry: Definitions | None = None,
    ) -> None:
        """Validate ``config``; raise ``InvalidSpec`` with every problem in it.

        ``registry`` holds the definitions that this one may call; None means that it calls none.
        """
        self.config = self.parse_config(config)
        self.registry = registry

    def calls(self) -> Iterable[type[Definition]]:
        """Return the other definitions that it uses by name, at the versions it uses.

        They are recorded with the instance, which then stays at these versions. Raises
        ``DefinitionUnavailable`` if one of them is not installed.
        """
        return ()

    @classmethod
    def parse_config(cls, config: BaseModel | Mapping[str, object] | None) -> Config:
        """Return the validated parameters; raise ``InvalidSpec`` with paths below ``config``."""
        if type(config) is cls.Config:
            return config
        raw = config.model_dump() if isinstance(config, BaseModel) else dict(config or {})
        try:
            return cls.Config.model_validate(raw)
        except ValidationError as error:
            fields = cls.Config.model_fields
            # The inputs are left out: a parameter may be a secret.
            details = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidSpec(build_config_problem(detail, fields) for detail in details) from None

    @classmethod
    def parameters_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of ``Config``."""
        return cls.Config.model_json_schema()

    @classmethod
    def content_hash(cls) -> str:
        """Return the SHA-256 of the source of the modules that hold the definition's code.

        The registry in the database compares it, to detect a change of code without a new version.
        Line ends do not count; comments do.
        """
        digest = hashlib.sha256()
        for module in (cls.__module__, *cls.source_modules):
            digest.update(_module_source(module).encode() + b"\0")
        return digest.hexdigest()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return everything that the class declares, JSON-serialisable."""
        return {
            "kind": cls.kind.value,
            "name": cls.name,
            "version": cls.version,
            "description": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
            "parameters_schema": cls.parameters_schema(),
            "input_schema": _plain(cls.input_schema),
            "output_schema": _plain(cls.output_schema),
            "compatibility_rules": asdict(cls.compatibility_rules),
            "guardrail_contracts": [dict(contract) for contract in cls.guardrail_contracts],
            "flow_specs": [asdict(spec) for spec in cls.flow_specs],
            "lineage_contracts": [asdict(each) for each in cls.lineage_contracts],
            "status_aggregation_contract": dict(cls.status_aggregation_contract),
            "content_hash": cls.content_hash(),
        }

    @classmethod
    def declaration_problems(cls) -> list[Problem]:
        """Return the mistakes in the class's declaration; the registry rejects a class with any."""
        problems = [
            Problem(attribute, "is not declared")
            for attribute in ("kind", "name", "version")
            if not getattr(cls, attribute, "")
        ]
        version = getattr(cls, "version", "")
        if version and not semver.Version.is_valid(version):
            problems.append(Problem("version", f"{version!r} is not a semantic version like 1.0.0"))
        if cls.Config.model_config.get("extra") != "forbid":
            problems.append(Problem("Config", 'must refuse unknown parameters (extra="forbid")'))
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))
            problems.append(Problem("", f"does not implement {missing}"))
        owner = OWNERS.get(getattr(cls, "kind", DefinitionKind.OP))
        problems += list_flow_problems(cls.flow_specs, owner, cls._implements)
        problems += list_lineage_contract_problems(cls.lineage_contracts, owner)
        return problems

    @classmethod
    def flow_spec(cls, kind: str) -> FlowSpec | None:
        """Return the ``FlowSpec`` that the definition has for a kind of flow; None without one."""
        return next((spec for spec in cls.flow_specs if spec.kind == kind), None)

    @classmethod
    def _implements(cls, method: str) -> bool:
        return callable(getattr(cls, method, None))


def _module_source(name: str) -> str:
    module = sys.modules.get(name) or __import__(name, fromlist=["__name__"])
    return "\n".join(inspect.getsource(module).splitlines())


def _plain(schema: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(schema) if schema is not None else None
