"""The plugin SDK: base classes of definitions, the values they receive, and the registry.

What belongs here: the base classes of definitions, the values that pass between a definition and
the flows, the data contract, and the registry. What must not: a definition that does real work
(``libs.plugins``), the database, or Prefect. Of instance specifications (``libs.specs``) it only
uses schedules.

Importing this package does not import polars; ``libs.definitions.content`` does.
"""

from prefect_instances.libs.definitions.accessor import Accessor, Query
from prefect_instances.libs.definitions.base import (
    CompatibilityRules,
    Definition,
    DefinitionKind,
    UpstreamShape,
)
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.external_job import (
    ExternalJobFailed,
    ExternalJobs,
    ExternalSystem,
    JobState,
)
from prefect_instances.libs.definitions.flow import (
    FlowContext,
    FlowResult,
    FlowSpec,
    LineageContract,
    Page,
)
from prefect_instances.libs.definitions.ml_module import MLModule, Sample
from prefect_instances.libs.definitions.op import Argument, Axis, Op, OpMacro
from prefect_instances.libs.definitions.optimizer import Constraints, Moments, PortfolioOptimizer
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.registry import Broken, Registry
from prefect_instances.libs.definitions.store import (
    LocationRefused,
    Store,
    StoredVersion,
    StoreHandle,
    VersionLost,
    inside,
)

__all__ = [
    "Accessor",
    "Argument",
    "Axis",
    "Broken",
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
    "Registry",
    "Sample",
    "Store",
    "StoreHandle",
    "StoredVersion",
    "UpstreamShape",
    "VersionLost",
    "inside",
]
