"""Automations, one for each name: Prefect itself would add another one each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect_instances.libs.adapters.prefect.api import Api, Calls
from prefect_instances.libs.adapters.prefect.change import Change, EnsureResult


@dataclass(frozen=True, slots=True)
class AutomationPlan:
    """The desired automation; ``trigger`` and ``actions`` are documents of Prefect's API."""

    name: str
    description: str
    trigger: Mapping[str, Any]
    actions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class AutomationView:
    """A stored automation; ``differing`` names the fields that differ from its plan."""

    enabled: bool
    differing: tuple[str, ...]


class AutomationCalls(Calls):
    """Calls about automations."""

    def find_automation(self, plan: AutomationPlan) -> AutomationView | None:
        """Return the automation of the plan's name (the oldest of several), or None."""
        present = _named(self._api, plan.name)
        if not present:
            return None
        stored, wanted = _essence(present[0]), _essence(_document(plan))
        differing = tuple(name for name in wanted if stored[name] != wanted[name])
        return AutomationView(bool(present[0]["enabled"]), differing)

    def ensure_automation(self, plan: AutomationPlan) -> EnsureResult:
        """Create or change the automation of this name to match ``plan``; write only if it differs.

        One that a person disabled stays disabled. Of several with the name (created concurrently)
        the oldest remains.
        """
        present = _named(self._api, plan.name)
        if not present:
            return _create(self._api, plan)
        kept, *surplus = present
        _delete(self._api, surplus)
        changed = _essence(kept) != _essence(_document(plan))
        if changed:
            body = {**_document(plan), "enabled": kept["enabled"]}
            path = f"/automations/{kept['id']}"
            self._api.request("PUT", path, body, doing=f"update automation {plan.name!r}")
        change = Change.UPDATED if changed or surplus else Change.UNCHANGED
        return EnsureResult(UUID(kept["id"]), change)

    def delete_automation(self, name: str) -> bool:
        """Delete every automation of this name; return False if there was none."""
        return _delete(self._api, _named(self._api, name)) > 0


def _create(api: Api, plan: AutomationPlan) -> EnsureResult:
    doing = f"create automation {plan.name!r}"
    api.request("POST", "/automations/", _document(plan), doing=doing)
    # Names are not unique in Prefect: a concurrent creator sees the same list now.
    kept, *surplus = _named(api, plan.name)
    _delete(api, surplus)
    return EnsureResult(UUID(kept["id"]), Change.CREATED)


def _named(api: Api, name: str) -> list[dict[str, Any]]:
    """Return the automations of this name, oldest first."""
    body = {"automations": {"name": {"any_": [name]}}}
    found = api.pages("/automations/filter", body, doing="list automations")
    return sorted(found, key=lambda document: (document["created"], document["id"]))


def _delete(api: Api, documents: Iterable[Mapping[str, Any]]) -> int:
    """Delete these; return how many still existed."""
    paths = (f"/automations/{document['id']}" for document in documents)
    return sum(api.delete(path, doing="delete an automation") for path in paths)


def _document(plan: AutomationPlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "description": plan.description,
        "trigger": dict(plan.trigger),
        "actions": [dict(action) for action in plan.actions],
    }


def _essence(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an automation's behaviour: defaults filled in, fields added by the server left out."""
    from prefect.events.schemas.automations import AutomationCore

    essence = {"name", "description", "trigger", "actions"}
    return AutomationCore.model_validate(document).model_dump(include=essence)
