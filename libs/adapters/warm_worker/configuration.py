"""What a work pool, a deployment or a run may set for the runs of the warm worker."""

import functools
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field

MODELS = ("mlflow.sklearn", "mlflow.models", "sklearn.linear_model", "sklearn.ensemble")

PRELOAD_BY_TAG = {
    "flow-kind:training": [*MODELS, "sklearn.pipeline", "sklearn.inspection"],
    "flow-kind:inference": [*MODELS, "sklearn.pipeline", "sklearn.inspection"],
    "flow-kind:monitoring": ["evidently", "evidently.presets", "evidently.ui.workspace"],
    "flow-kind:optimize": ["skfolio.optimization", "skfolio.prior", "sklearn.covariance"],
}
"""Additional imports of runs with a tag; equal lists share one process to fork from."""

VOUCHED_FOR = {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}
"""Settings of runs: the worker, of the same version, has asked the server for its version."""

ENTRYPOINT_VARIABLE = "PREFECT__FLOW_ENTRYPOINT"
"""Variable from which Prefect's engine takes a flow without reading the deployment."""


class WarmVariables(BaseVariables):
    """Variables that a work pool or a deployment may set for its runs."""

    stream_output: bool = Field(
        default=True, description="Print the output of runs in the worker's output."
    )
    working_dir: Path | None = Field(
        default=None,
        title="Working Directory",
        description="Directory that runs start in; if left out, a new one for each run.",
    )
    preload: list[str] = Field(
        default=[
            "prefect_instances.flows.*",
            "prefect_instances.libs.plugins.*",
            "prefect_instances.libs.wiring:warm_up",
            "polars",
            "deltalake",
        ],
        title="Preloaded Modules",
        description=(
            "Modules imported once instead of by each run; package.* stands for all modules of a "
            "package, module:function for a function that is called as well. They may start no "
            "threads and leave no connections open."
        ),
    )
    preload_by_tag: dict[str, list[str]] = Field(
        default=PRELOAD_BY_TAG,
        title="Preloaded Modules by Tag",
        description=(
            "More modules to import once, by tag. Runs with the tag get a process of their own, "
            "which starts with the first such run, so that other runs do not load them."
        ),
    )
    grace_seconds: float = Field(
        default=10.0,
        ge=0,
        title="Grace",
        description="Seconds between asking the process of a run to end and killing it.",
    )


class WarmJobConfiguration(BaseJobConfiguration):
    """The `WarmVariables` of one run; a ``command`` has no effect, because runs are forked."""

    stream_output: bool = True
    working_dir: Path | None = None
    preload: list[str] = Field(default_factory=list)
    preload_by_tag: dict[str, list[str]] = Field(default_factory=dict)
    grace_seconds: float = 10.0

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Complete the configuration for the flow run.

        A deployment whose flow is a module in the environment is not read again by the run.
        """
        super().prepare_for_flow_run(flow_run, deployment, *args, **kwargs)
        self.env = self.environment()
        entrypoint = deployment and not deployment.pull_steps and deployment.entrypoint
        if entrypoint and ":" not in entrypoint:
            self.env[ENTRYPOINT_VARIABLE] = entrypoint

    def additional_modules(self, tags: Iterable[str]) -> list[str]:
        """Return the modules to preload for a run with these tags, in addition to all others."""
        more = (name for tag in sorted(tags) for name in self.preload_by_tag.get(tag, ()))
        return [name for name in dict.fromkeys(more) if name not in self.preload]

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        """Return Prefect's settings, as far as they are set."""
        return dict(_settings_environment())

    def environment(self) -> dict[str, str | None]:
        """Return the worker's environment and Prefect settings, with configured ones on top."""
        own = {name: value for name, value in self.env.items() if value is not None}
        return {**os.environ, **self._base_environment(), **VOUCHED_FOR, **own}


def prepare_directory(configuration: WarmJobConfiguration) -> AbstractContextManager[str | Path]:
    """Prepare the configured directory, or a temporary one for this run."""
    if configuration.working_dir is not None:
        return nullcontext(configuration.working_dir)
    return tempfile.TemporaryDirectory(suffix="prefect", ignore_cleanup_errors=True)


@functools.cache
def _settings_environment() -> Mapping[str, str]:
    """Return Prefect's settings, cached: they are constant, and serialising them is slow."""
    return get_current_settings().to_environment_variables(exclude_unset=True)
