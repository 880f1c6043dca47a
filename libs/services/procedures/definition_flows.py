"""The procedure of flows that definitions add; a method of the definition computes."""

from __future__ import annotations

from prefect_instances.libs.core.errors import DataRejected, NotFound
from prefect_instances.libs.definitions.base import Definition
from prefect_instances.libs.definitions.flow import FlowContext, FlowResult, FlowSpec
from prefect_instances.libs.definitions.pipeline import Input
from prefect_instances.libs.services.composition.components import made, open_output
from prefect_instances.libs.services.composition.contracts import composition_of
from prefect_instances.libs.services.composition.instance_types import KITS
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result


def run_definition_method(job: Job) -> Result:
    """Call the definition's method with the pinned inputs.

    Raises NotFound if the definition has no such flow, DataRejected if the method returns something
    other than the definition declares.
    """
    definition = _definition(job)
    spec = definition.flow_spec(job.kind)
    if spec is None:
        raise NotFound("flow", f"{definition.name} {definition.version} {job.kind}")
    context = FlowContext(job.instance.name, job.kind, job.run.started_at)
    inputs = [Input(item.resource, item.role, item.frame) for item in job.inputs]
    made_of_it = getattr(definition, spec.runs)(context, inputs)
    output = _output(job, definition, spec, made_of_it)
    return Result(output, made_of_it.metrics, made_of_it.pages)


def _definition(job: Job) -> Definition:
    """Return the main definition of the instance, in a rerun as the run's spec had it."""
    main = KITS[job.instance.type].main
    with job.services.database.read() as session:
        row = composition_of(session, job.instance.type, job.instance.id)[main]
        return made(job.services, session, row, job.component(main))


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
