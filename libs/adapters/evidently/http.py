"""Requests to an Evidently server, without importing Evidently, which takes seconds."""

from __future__ import annotations

from requests import PreparedRequest, Request, Response, Session

from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.errors import PermanentError, Unavailable

SECONDS = (5.0, 60.0)
"""Time limits to connect and to answer."""


def read_version(address: Address) -> str:
    """Return the version of the server; raise PermanentError if it is not Evidently."""
    try:
        said = send_request(Request("GET", f"{address.url}/api/version"), address).json()
        return f"{said['application']} {said['version']}"
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"no Evidently server answers at {address.url}") from error


def send_request(request: Request, address: Address) -> Response:
    """Send a request with the credentials of the address and a time limit; return the answer.

    Raises Unavailable if the server fails, PermanentError if it refuses.
    """
    request.auth = address.credentials
    with Session() as session:
        prepared: PreparedRequest = session.prepare_request(request)
        response = session.send(prepared, timeout=SECONDS)
    if not response.ok:
        raise _convert_refusal(response)
    return response


def _convert_refusal(response: Response) -> Exception:
    try:
        said = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = response.reason
    text = f"{said} ({response.status_code})"
    if response.status_code >= 500:  # the server's fault, by the protocol
        return Unavailable("Evidently", text)
    return PermanentError(f"Evidently refuses: {text}")
