"""The public face: what authors of definitions, notebooks and applications import.

    from prefect_instances import Extract, ExtractContext, Pipeline

Names are imported when they are first used, so that ``import prefect_instances`` costs next to
nothing. Everything below ``prefect_instances.libs``, ``flows``, ``blocks``, ``deployments`` and
``cli`` is internal and may move; what is listed here stays. The folders beside this file are links
to the top-level folders of the repository.
"""

# isort: skip_file
# One statement for each module; sorted, ruff would write one for each name.
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_instances.cli.running import run as run
    from prefect_instances.libs.adapters.centrifugo.subscriber import subscribe as subscribe
    from prefect_instances.libs.core.errors import (
        AlreadyExists as AlreadyExists,
        DataRejected as DataRejected,
        DefinitionUnavailable as DefinitionUnavailable,
        HasDependents as HasDependents,
        InstancesError as InstancesError,
        InvalidSpec as InvalidSpec,
        NotFound as NotFound,
        PermanentError as PermanentError,
        Problem as Problem,
        TemporaryError as TemporaryError,
        Unavailable as Unavailable,
    )
    from prefect_instances.libs.core.status import (
        FlowKind as FlowKind,
        FlowStatus as FlowStatus,
        InstanceType as InstanceType,
        Lifecycle as Lifecycle,
        Require as Require,
    )
    from prefect_instances.libs.definitions import (
        Accessor as Accessor,
        Argument as Argument,
        Axis as Axis,
        CompatibilityRules as CompatibilityRules,
        Constraints as Constraints,
        Definition as Definition,
        DefinitionKind as DefinitionKind,
        Executor as Executor,
        ExternalJobFailed as ExternalJobFailed,
        ExternalJobs as ExternalJobs,
        ExternalSystem as ExternalSystem,
        Extract as Extract,
        ExtractContext as ExtractContext,
        FlowContext as FlowContext,
        FlowResult as FlowResult,
        FlowSpec as FlowSpec,
        Input as Input,
        JobState as JobState,
        LineageContract as LineageContract,
        LocationRefused as LocationRefused,
        MLModule as MLModule,
        Moments as Moments,
        Op as Op,
        OpMacro as OpMacro,
        Page as Page,
        Pipeline as Pipeline,
        PortfolioOptimizer as PortfolioOptimizer,
        Query as Query,
        Sample as Sample,
        Store as Store,
        StoredVersion as StoredVersion,
        StoreHandle as StoreHandle,
        UpstreamShape as UpstreamShape,
        VersionLost as VersionLost,
        inside as inside,
    )
    from prefect_instances.libs.definitions.accessor import narrow as narrow
    from prefect_instances.libs.definitions.content import (
        KEYS as KEYS,
        conform as conform,
        content_hash as content_hash,
        schema_hash as schema_hash,
    )
    from prefect_instances.libs.definitions.guardrails import (
        Contract as Contract,
        Evidence as Evidence,
        Gate as Gate,
        Guardrail as Guardrail,
        GuardrailMode as GuardrailMode,
        InputFacts as InputFacts,
        Report as Report,
    )
    from prefect_instances.libs.desk import (
        audit as audit,
        compare as compare,
        lineage as lineage,
        model as model,
        plot as plot,
        read as read,
        report as report,
        runs as runs,
        status as status,
        tear_sheet as tear_sheet,
        versions as versions,
    )
    from prefect_instances.libs.services.views.subscribing import (
        grant_subscription as grant_subscription,
    )
    from prefect_instances.libs.settings import (
        Settings as Settings,
        load_settings as load_settings,
    )
    from prefect_instances.libs.specs import (
        BacktestSpec as BacktestSpec,
        DatasetSpec as DatasetSpec,
        ExperimentSpec as ExperimentSpec,
        ModelSpec as ModelSpec,
        OptimizerSpec as OptimizerSpec,
        ScheduleSpec as ScheduleSpec,
        SignalContract as SignalContract,
        SignalSpec as SignalSpec,
        UpstreamRef as UpstreamRef,
        load_manifest as load_manifest,
        parse_manifest as parse_manifest,
        parse_spec as parse_spec,
    )
    from prefect_instances.libs.wiring import connect as connect

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
        "Executor",
        "ExternalJobFailed",
        "ExternalJobs",
        "ExternalSystem",
        "Extract",
        "ExtractContext",
        "FlowContext",
        "FlowResult",
        "FlowSpec",
        "Input",
        "JobState",
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
        "audit",
        "compare",
        "lineage",
        "model",
        "plot",
        "read",
        "report",
        "runs",
        "status",
        "tear_sheet",
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
