"""The configurations of an instance: what changed, when, and which runs used them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prefect_instances.libs.core.differences import find_differences
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import ResourceVersion
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.db.repositories.runs import select_config_versions_used
from prefect_instances.libs.db.repositories.versions import select_versions

Document = dict[str, Any]


def history(database: Database, name: str) -> Document:
    """List every version, newest first, with its changes and whether they affect the output.

    ``runs`` counts the runs that used the version. No run uses a version whose change does not
    affect the output, so its count is 0.
    """
    with database.read() as session:
        named = get_instance(session, name)
        versions = select_versions(session, named.id)
        used = Counter(select_config_versions_used(session, named.id))
    entries = [_entry(before, after, used) for before, after in _pairs(versions)]
    return {"instance": named.name, "project": named.project, "versions": entries[::-1]}


def diff(
    database: Database, name: str, first: int | None = None, last: int | None = None
) -> Document:
    """Compare two versions of an instance; by default the newest and the one before it.

    Raises NotFound for a version that does not exist.
    """
    with database.read() as session:
        named = get_instance(session, name)
        versions = {version.number: version for version in select_versions(session, named.id)}
    to = last or max(versions)
    since = first or max(to - 1, 1)
    for number in (since, to):
        if number not in versions:
            raise NotFound("version", f"{number} of {named.label}: there are 1 to {max(versions)}")
    changes = find_differences(versions[since].spec_json, versions[to].spec_json)
    return {
        "instance": named.name,
        "project": named.project,
        "from": since,
        "to": to,
        "affects_output": versions[since].content_hash != versions[to].content_hash,
        "changes": [asdict(change) for change in changes],
    }


def _pairs(
    versions: Sequence[ResourceVersion],
) -> list[tuple[ResourceVersion | None, ResourceVersion]]:
    return list(zip([None, *versions], versions, strict=False))


def _entry(
    before: ResourceVersion | None, after: ResourceVersion, used: Mapping[int, int]
) -> Document:
    changes = find_differences(before.spec_json, after.spec_json) if before else []
    return {
        "version": after.number,
        "created_at": after.created_at.isoformat(),
        "affects_output": before is None or before.content_hash != after.content_hash,
        "runs": used.get(after.number, 0),
        "changes": [asdict(change) for change in changes],
    }
