"""Which database a Prefect server serves: one server belongs to one database.

Lifecycle flows, automations and the sweep exist once on a server, so two databases would mix there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.core.ids import WORK_POOL

if TYPE_CHECKING:
    from prefect_instances.libs.adapters.prefect import PrefectGateway
    from prefect_instances.libs.adapters.prefect.inspection import Inspector

VARIABLE = "instances_database"
"""The variable of Prefect that names the database and the work pool of its workers."""

ADVICE = (
    "give each home a Prefect server of its own (unset PREFECT_API_URL and run `instances up`); "
    "if the other home is gone for good, run `prefect variable unset instances_database`"
)


class ServesAnother(PermanentError):
    """A worker of another database serves this Prefect server: use another server."""

    def __init__(self, worker: str, pool: str, theirs: str, ours: UUID) -> None:
        self.worker, self.theirs, self.ours = worker, theirs, ours
        super().__init__(
            f"the worker {worker} of pool {pool!r} serves the database {theirs}, and this home has "
            f"the database {ours}: {ADVICE}. Nothing was changed in Prefect"
        )


def find_other(gateway: PrefectGateway, identity: UUID | None) -> tuple[str, str] | None:
    """Return the identity and work pool of the database that the server serves instead of ours.

    None if it serves ours (``identity``), or if no database has been recorded.
    """
    mark = gateway.read_variable(VARIABLE)
    if not isinstance(mark, dict) or mark.get("identity") in (None, str(identity)):
        return None
    return str(mark["identity"]), str(mark.get("pool") or WORK_POOL)


def claim_server(inspector: Inspector, identity: UUID, pool: str, own_worker: str = "") -> None:
    """Record that the server serves this database with the workers of ``pool``.

    Raises ServesAnother while a worker of another database is online. ``own_worker`` is the name of
    this home's worker, which does not count.
    """
    other = find_other(inspector, identity)
    if other is not None:
        theirs, their_pool = other
        found = inspector.workers(their_pool) if inspector.work_pool(their_pool) else []
        for worker in found:
            if worker.online and worker.name != own_worker:
                raise ServesAnother(worker.name, their_pool, theirs, identity)
    value = {"identity": str(identity), "pool": pool}
    if inspector.read_variable(VARIABLE) != value:
        inspector.write_variable(VARIABLE, value)
