"""The procedure of flows that definitions add; a method of the definition computes."""

from __future__ import annotations

from prefect_instances.libs.core.errors import DataRejected, NotFound
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.flow import FlowContext, FlowResult, FlowSpec
from prefect_instances.libs.definitions.pipeline import Input
from prefect_instances.libs.services.composition.components import open_output
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result


def run_definition_method(job: Job) -> Result:
    """Call the definition's method with the pinned inputs.

    Raises NotFound if the definition has no such flow, DataRejected if the method returns something
    other than the definition declares.
    """
    definition = job.opened.main
    spec = definition.flow_spec(job.kind)
    if spec is None:
        raise NotFound("flow", f"{definition.name} {definition.version} {job.kind}")
    context = FlowContext(job.instance.name, job.kind, job.run.started_at, job.external_jobs)
    inputs = [Input(item.resource, item.role, item.frame) for item in job.inputs]
    made_of_it = getattr(definition, spec.runs)(context, inputs)
    output = _output(job, definition, spec, made_of_it)
    return Result(output, made_of_it.metrics, made_of_it.pages)


def _output(job: Job, definition: Definition, spec: FlowSpec, result: object) -> Frame | None:
    label = f"{definition.name}.{spec.runs}"
    if not isinstance(result, FlowResult):
        raise DataRejected(f"{label} must return a FlowResult, not a {type(result).__name__}")
    if spec.publishes != (result.frame is not None):
        wanted = "a frame: the flow publishes" if spec.publishes else "no frame: it publishes none"
        raise DataRejected(f"{label} must return {wanted}")
    if result.frame is None:
        return None
    return Frame(result.frame, open_output(job.services, job.instance.id, job.kind))
