"""Apply one step of a plan, or refuse it if its instance has changed since the plan."""

from __future__ import annotations

from prefect_instances.libs.core.errors import MovedOn
from prefect_instances.libs.core.plan import Step
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.repositories.resources import find_instance
from prefect_instances.libs.services.lifecycle.external_resources import Ports
from prefect_instances.libs.services.lifecycle.provisioning import Provisioned, provision
from prefect_instances.libs.services.lifecycle.updating import update_instance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import InstanceSpec


def apply_step(services: Services, spec: InstanceSpec, ports: Ports, step: Step) -> Provisioned:
    """Create, update or resume one instance as a step of a plan says.

    Raises MovedOn if the instance was created, changed or removed since the plan, and otherwise
    what ``provision`` and ``update_instance`` raise.
    """
    with services.database.read() as session:
        named = find_instance(session, step.name)
    if named is None and step.version:
        raise MovedOn(step.name, step.version, 0)
    if named is not None and named.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PAUSED):
        return update_instance(services, spec, ports, step.version)
    return provision(services, spec, ports)
