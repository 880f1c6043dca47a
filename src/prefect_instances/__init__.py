"""The public face: what authors of definitions, notebooks and applications import.

    from prefect_instances import Extract, ExtractContext, Pipeline

Names are imported when they are first used, so that ``import prefect_instances`` costs next to
nothing. Everything below ``prefect_instances.libs``, ``flows``, ``blocks``, ``deployments`` and
``cli`` is internal and may move; what is listed here stays. The folders beside this file are links
to the top-level folders of the repository.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_instances.cli.running import (
        run as run,
    )
    from prefect_instances.libs.adapters.centrifugo.subscriber import (
        subscribe as subscribe,
    )
    from prefect_instances.libs.core.errors import (
        AlreadyExists as AlreadyExists,
    )
    from prefect_instances.libs.core.errors import (
        DataRejected as DataRejected,
    )
    from prefect_instances.libs.core.errors import (
        DefinitionUnavailable as DefinitionUnavailable,
    )
    from prefect_instances.libs.core.errors import (
        HasDependents as HasDependents,
    )
    from prefect_instances.libs.core.errors import (
        InstancesError as InstancesError,
    )
    from prefect_instances.libs.core.errors import (
        InvalidSpec as InvalidSpec,
    )
    from prefect_instances.libs.core.errors import (
        NotFound as NotFound,
    )
    from prefect_instances.libs.core.errors import (
        PermanentError as PermanentError,
    )
    from prefect_instances.libs.core.errors import (
        Problem as Problem,
    )
    from prefect_instances.libs.core.errors import (
        TemporaryError as TemporaryError,
    )
    from prefect_instances.libs.core.errors import (
        Unavailable as Unavailable,
    )
    from prefect_instances.libs.core.status import (
        FlowKind as FlowKind,
    )
    from prefect_instances.libs.core.status import (
        FlowStatus as FlowStatus,
    )
    from prefect_instances.libs.core.status import (
        InstanceType as InstanceType,
    )
    from prefect_instances.libs.core.status import (
        Lifecycle as Lifecycle,
    )
    from prefect_instances.libs.core.status import (
        Require as Require,
    )
    from prefect_instances.libs.definitions import (
        Accessor as Accessor,
    )
    from prefect_instances.libs.definitions import (
        Argument as Argument,
    )
    from prefect_instances.libs.definitions import (
        Axis as Axis,
    )
    from prefect_instances.libs.definitions import (
        CompatibilityRules as CompatibilityRules,
    )
    from prefect_instances.libs.definitions import (
        Constraints as Constraints,
    )
    from prefect_instances.libs.definitions import (
        Definition as Definition,
    )
    from prefect_instances.libs.definitions import (
        DefinitionKind as DefinitionKind,
    )
    from prefect_instances.libs.definitions import (
        Extract as Extract,
    )
    from prefect_instances.libs.definitions import (
        ExtractContext as ExtractContext,
    )
    from prefect_instances.libs.definitions import (
        FlowContext as FlowContext,
    )
    from prefect_instances.libs.definitions import (
        FlowResult as FlowResult,
    )
    from prefect_instances.libs.definitions import (
        FlowSpec as FlowSpec,
    )
    from prefect_instances.libs.definitions import (
        Input as Input,
    )
    from prefect_instances.libs.definitions import (
        LineageContract as LineageContract,
    )
    from prefect_instances.libs.definitions import (
        LocationRefused as LocationRefused,
    )
    from prefect_instances.libs.definitions import (
        MLModule as MLModule,
    )
    from prefect_instances.libs.definitions import (
        Moments as Moments,
    )
    from prefect_instances.libs.definitions import (
        Op as Op,
    )
    from prefect_instances.libs.definitions import (
        OpMacro as OpMacro,
    )
    from prefect_instances.libs.definitions import (
        Page as Page,
    )
    from prefect_instances.libs.definitions import (
        Pipeline as Pipeline,
    )
    from prefect_instances.libs.definitions import (
        PortfolioOptimizer as PortfolioOptimizer,
    )
    from prefect_instances.libs.definitions import (
        Query as Query,
    )
    from prefect_instances.libs.definitions import (
        Sample as Sample,
    )
    from prefect_instances.libs.definitions import (
        Store as Store,
    )
    from prefect_instances.libs.definitions import (
        StoredVersion as StoredVersion,
    )
    from prefect_instances.libs.definitions import (
        StoreHandle as StoreHandle,
    )
    from prefect_instances.libs.definitions import (
        UpstreamShape as UpstreamShape,
    )
    from prefect_instances.libs.definitions import (
        VersionLost as VersionLost,
    )
    from prefect_instances.libs.definitions import (
        inside as inside,
    )
    from prefect_instances.libs.definitions.accessor import (
        narrow as narrow,
    )
    from prefect_instances.libs.definitions.content import (
        KEYS as KEYS,
    )
    from prefect_instances.libs.definitions.content import (
        conform as conform,
    )
    from prefect_instances.libs.definitions.content import (
        content_hash as content_hash,
    )
    from prefect_instances.libs.definitions.content import (
        schema_hash as schema_hash,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Contract as Contract,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Evidence as Evidence,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Gate as Gate,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Guardrail as Guardrail,
    )
    from prefect_instances.libs.definitions.guardrails import (
        GuardrailMode as GuardrailMode,
    )
    from prefect_instances.libs.definitions.guardrails import (
        InputFacts as InputFacts,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Report as Report,
    )
    from prefect_instances.libs.desk import (
        compare as compare,
    )
    from prefect_instances.libs.desk import (
        lineage as lineage,
    )
    from prefect_instances.libs.desk import (
        model as model,
    )
    from prefect_instances.libs.desk import (
        plot as plot,
    )
    from prefect_instances.libs.desk import (
        read as read,
    )
    from prefect_instances.libs.desk import (
        report as report,
    )
    from prefect_instances.libs.desk import (
        runs as runs,
    )
    from prefect_instances.libs.desk import (
        status as status,
    )
    from prefect_instances.libs.desk import (
        versions as versions,
    )
    from prefect_instances.libs.services.views.subscribing import (
        grant_subscription as grant_subscription,
    )
    from prefect_instances.libs.settings import (
        Settings as Settings,
    )
    from prefect_instances.libs.settings import (
        load_settings as load_settings,
    )
    from prefect_instances.libs.specs import (
        BacktestSpec as BacktestSpec,
    )
    from prefect_instances.libs.specs import (
        DatasetSpec as DatasetSpec,
    )
    from prefect_instances.libs.specs import (
        ExperimentSpec as ExperimentSpec,
    )
    from prefect_instances.libs.specs import (
        ModelSpec as ModelSpec,
    )
    from prefect_instances.libs.specs import (
        OptimizerSpec as OptimizerSpec,
    )
    from prefect_instances.libs.specs import (
        ScheduleSpec as ScheduleSpec,
    )
    from prefect_instances.libs.specs import (
        SignalContract as SignalContract,
    )
    from prefect_instances.libs.specs import (
        SignalSpec as SignalSpec,
    )
    from prefect_instances.libs.specs import (
        UpstreamRef as UpstreamRef,
    )
    from prefect_instances.libs.specs import (
        load_manifest as load_manifest,
    )
    from prefect_instances.libs.specs import (
        parse_manifest as parse_manifest,
    )
    from prefect_instances.libs.specs import (
        parse_spec as parse_spec,
    )
    from prefect_instances.libs.wiring import (
        connect as connect,
    )

_MODULES = {
    "adapters.centrifugo.subscriber": ("subscribe",),
    "core.errors": (
        "AlreadyExists",
        "DataRejected",
        "DefinitionUnavailable",
        "HasDependents",
        "InstancesError",
        "InvalidSpec",
        "NotFound",
        "PermanentError",
        "Problem",
        "TemporaryError",
        "Unavailable",
    ),
    "core.status": (
        "FlowKind",
        "FlowStatus",
        "InstanceType",
        "Lifecycle",
        "Require",
    ),
    "definitions": (
        "Accessor",
        "Argument",
        "Axis",
        "CompatibilityRules",
        "Constraints",
        "Definition",
        "DefinitionKind",
        "Extract",
        "ExtractContext",
        "FlowContext",
        "FlowResult",
        "FlowSpec",
        "Input",
        "LineageContract",
        "LocationRefused",
        "MLModule",
        "Moments",
        "Op",
        "OpMacro",
        "Page",
        "Pipeline",
        "PortfolioOptimizer",
        "Query",
        "Sample",
        "Store",
        "StoreHandle",
        "StoredVersion",
        "UpstreamShape",
        "VersionLost",
        "inside",
    ),
    "definitions.accessor": ("narrow",),
    "definitions.content": (
        "KEYS",
        "conform",
        "content_hash",
        "schema_hash",
    ),
    "definitions.guardrails": (
        "Contract",
        "Evidence",
        "Gate",
        "Guardrail",
        "GuardrailMode",
        "InputFacts",
        "Report",
    ),
    "desk": (
        "compare",
        "lineage",
        "model",
        "plot",
        "read",
        "report",
        "runs",
        "status",
        "versions",
    ),
    "services.views.subscribing": ("grant_subscription",),
    "settings": (
        "Settings",
        "load_settings",
    ),
    "specs": (
        "BacktestSpec",
        "DatasetSpec",
        "ExperimentSpec",
        "ModelSpec",
        "OptimizerSpec",
        "ScheduleSpec",
        "SignalContract",
        "SignalSpec",
        "UpstreamRef",
        "load_manifest",
        "parse_manifest",
        "parse_spec",
    ),
    "wiring": ("connect",),
}
"""The public names, by the module below ``prefect_instances.libs`` that defines them."""

_HOMES = {name: f"libs.{module}" for module, names in _MODULES.items() for name in names}
_HOMES["run"] = "cli.running"  # It shows progress and waits as the command line does.

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no public name {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__]
