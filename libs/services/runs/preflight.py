"""The claim of a run: refused where the definitions that it needs cannot be used."""

from __future__ import annotations

from prefect_instances.libs.core.commands import AskedAgain, Blocked, Skipped, Started, Unusable
from prefect_instances.libs.core.errors import DefinitionUnavailable
from prefect_instances.libs.services.runs.opened import OpenedInstance
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave


def begin(
    services: Services, opened: OpenedInstance, work: Work
) -> Started | Skipped | AskedAgain | Blocked:
    """Check the definitions, then claim the work; see ``Ledger.start``.

    Raises DefinitionUnavailable where a definition that it needs is missing, broken, or does not
    take its configuration any more: nothing ran then, and the flow says so until a new request.
    """
    fault = opened.fault if isinstance(opened.fault, DefinitionUnavailable) else None
    started = services.ledger.start(
        opened.flow.id,
        work.flow_run_id,
        opening_id=work.opening_id,
        ask=work.ask,
        unusable=str(fault or ""),
    )
    relay_or_leave(services)
    if isinstance(started, Unusable):
        assert fault is not None
        raise fault
    return started
