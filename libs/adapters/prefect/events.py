"""Events: posted in batches over HTTP, so that their acceptance is confirmed.

Prefect's own ``emit_event`` is fire-and-forget and appends the emitting run's deployment to the
related resources, which an inferred action could mistake for its target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from prefect_instances.libs.adapters.prefect.api import Calls
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.core.events import Event

BATCH = 100
"""Maximum events in one request."""

MAX_RELATED = 100
MAX_BYTES = 1_400_000
"""Just below the server's own limits (100 resources, 1.5 MB).

It refuses a whole batch for one event with too many resources, and drops one that is too long
without a word; both are found here, by name, before anything is sent.
"""


class EventCalls(Calls):
    """Calls about events."""

    def publish(self, events: Sequence[Event]) -> None:
        """Post the events in order; return when the server has accepted all of them.

        Posting an event again (same id) has no effect while the server remembers the id: for five
        minutes, a thousand events, or until it restarts. That holds even if its queue was full and
        the first one was lost; so an event that must be announced again needs a new id. Once the id
        is forgotten, automations fire again; the event is recorded once in any case.

        Raises PermanentError before anything is sent if the server would reject an event,
        Unavailable if it does not answer (earlier batches may have been accepted).
        """
        documents = [_document(event) for event in events]
        for start in range(0, len(documents), BATCH):
            batch = documents[start : start + BATCH]
            self._api.request("POST", "/events", batch, doing="publish events")


def _document(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": event.id,
        "event": event.name,
        "occurred": event.occurred,
        "resource": dict(event.resource),
        "related": [dict(resource) for resource in event.related],
        "payload": dict(event.payload),
    }
    if problem := _problem(document):
        raise PermanentError(f"event {event.name} {event.id} cannot be published: {problem}")
    return document


def _problem(document: dict[str, Any]) -> str:
    """Return the reason why the server would reject the event; "" if it would accept it."""
    if document["occurred"].tzinfo is None:
        return "its time has no time zone"
    if len(document["related"]) > MAX_RELATED:
        return f"more than {MAX_RELATED} related resources"
    if not all("prefect.resource.id" in labels for labels in _involved(document)):
        return "a resource without prefect.resource.id"
    if not all("prefect.resource.role" in labels for labels in document["related"]):
        return "a related resource without prefect.resource.role"
    try:
        size = len(to_json(document, inf_nan_mode="null"))
    except PydanticSerializationError as error:
        return str(error)
    return f"{size} bytes are more than {MAX_BYTES}" if size > MAX_BYTES else ""


def _involved(document: dict[str, Any]) -> list[dict[str, str]]:
    return [document["resource"], *document["related"]]
