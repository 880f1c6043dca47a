"""Look for the stored versions of every flow, and for files that belong to nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID

from prefect_instances.libs.core.audit import Fault, Finding, Records
from prefect_instances.libs.core.divergence import build_remedy
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import DatasetVersion
from prefect_instances.libs.services.composition.components import OUTPUTS, find_loss
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures

DRAFT_SECONDS = 3600.0
"""Age from which an unfinished file counts as left behind by a write that died."""


def find_lost_files(services: Services, records: Records, failures: Failures) -> Iterator[Finding]:
    """Yield a finding for each flow whose current output cannot be read, upstreams first."""
    flows = records.region.flows
    pairs = [(edge.upstream, edge.downstream) for edge in records.region.edges.values()]
    for flow in (flows[id_] for id_ in topological_order(flows, pairs)):
        if flow.version_id is None or flow.kind == FlowKind.TRAINING:
            continue  # A model's versions are in MLflow.
        name = records.name(flow.id)
        with failures.step(f"the output of {name}"):
            lost = _missing(services, flow.version_id)
            if lost:
                remedy = f"`{build_remedy(name.rpartition('.')[0], flow.kind)}`"
                yield Finding(Fault.LOST, name, lost.partition(";")[0], remedy)


def _missing(services: Services, version_id: UUID) -> str:
    """Return why a version cannot be read, "" if it can; its rows are not read."""
    with services.database.read() as session:
        version = session.get(DatasetVersion, version_id)
        # Without a row the records tell the loss, or it was published since.
        return find_loss(services, session, version) if version else ""


def find_leftovers(services: Services, known: Collection[UUID]) -> Iterator[Finding]:
    """Yield what is on disk for instances that are gone, and what dead writes left.

    Nothing is looked for in an object store: purge and the stores themselves delete there.
    """
    root = services.settings.store_place
    if not isinstance(root, Path):
        return
    names = {str(id_) for id_ in known}
    for folder in sorted(_folders(root)):
        if folder.name not in names:
            detail = f"{folder} holds data of an instance that is not in this database"
            yield Finding(Fault.ORPHANED, folder.name, detail, "delete the folder, or keep it")
    oldest = time.time() - DRAFT_SECONDS
    drafts = [path for path in root.rglob("*.tmp") if _is_older(path, oldest)]
    if drafts:
        detail = f"{len(drafts)} unfinished files of writes that died, such as {drafts[0]}"
        yield Finding(Fault.ORPHANED, "stores", detail, "the stores delete them after a day")


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders of instances: below the folder of a store, or of other flows' outputs."""
    for store in root.iterdir() if root.is_dir() else ():
        if store.name == OUTPUTS or _is_id(store.name):
            yield from (folder for folder in store.iterdir() if _is_id(folder.name))


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _is_older(path: Path, oldest: float) -> bool:
    try:
        return path.stat().st_mtime < oldest
    except FileNotFoundError:
        return False
