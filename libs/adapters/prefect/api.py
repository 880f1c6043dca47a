"""One way to call Prefect's REST API: JSON in, JSON out, failures as this project's errors.

The HTTP client is Prefect's own, so its settings (address, credentials, TLS, retries with back-off
if a known server is away) apply. No exception of Prefect or httpx leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from pydantic_core import PydanticSerializationError, ValidationError, to_json

from prefect_instances.libs.core.errors import InstancesError, NotFound, PermanentError, Unavailable

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SERVICE = "Prefect API"
NO_SERVER = "no server is configured; start one with `instances up` or set PREFECT_API_URL"
RETRY_LATER = frozenset({408, 425, 429})
"""HTTP statuses below 500 that do not mean that the request is wrong."""

UNKNOWN_ROUTE = frozenset({404, 405, 501})
"""HTTP statuses of a server that does not know the path, or does not take the method."""

API_ADVICE = "check PREFECT_API_URL, which ends in /api, and that a Prefect server is there"
"""What to do if the address leads elsewhere."""

NO_JSON = "answers something that is not JSON"

_JSON = {"Content-Type": "application/json"}
_REASONS_SHOWN = 3
_REASON_LENGTH = 600


class Refused(PermanentError):
    """Prefect refused a request: correct the named cause; a retry does not help.

    ``status`` is the HTTP status (404: the object does not exist).
    """

    def __init__(self, doing: str, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"Prefect refused to {doing}: {reason} (HTTP {status})")


class NotPrefect(Unavailable):
    """Another server answers at the address, or it is no API: correct PREFECT_API_URL."""

    def __init__(self, where: str, answer: str) -> None:
        self.where, self.answer = where, answer
        super().__init__(SERVICE, f"{where} {answer}: {API_ADVICE}")


class Api:
    """A connection to one Prefect server; safe to share between threads, not across a fork."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        client.__enter__()

    @classmethod
    def connect_later(cls, connect: Callable[[], SyncPrefectClient]) -> Api:
        """Return a connection that ``connect`` makes when it is first used."""
        return _LateApi(connect)

    @property
    def url(self) -> str:
        """Return the address of the API, without a trailing slash."""
        return str(self._client.api_url).rstrip("/")

    def close(self) -> None:
        """Close the connections; the object cannot be used afterwards."""
        self._client.__exit__(None, None, None)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        doing: str,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send one request; return the successful response.

        ``path`` starts with a slash and is already quoted. ``body`` may hold UUIDs, datetimes and
        other values that pydantic can write as JSON; NaN is sent as null. ``doing`` completes
        "refused to …". ``timeout`` is in seconds; None means Prefect's own setting.

        Raises Unavailable if the server does not answer or fails, Refused if it rejects the
        request.
        """
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        if body is not None:
            options |= {"content": _encoded(body, doing), "headers": _JSON}
        try:
            with translate_errors(doing):
                # The path is typed as a list of routes; they are Prefect's, and not complete.
                return self._client.request(method, path, **options)  # type: ignore[arg-type]
        except (JSONDecodeError, ValidationError) as error:
            # Prefect's client reads a token first, and does not expect a page in its place.
            raise NotPrefect(self.url, NO_JSON) from error

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        doing: str,
        timeout: float | None = None,
    ) -> Any:
        """Send one request as ``send`` does; return the decoded answer, None for an empty one."""
        response = self.send(method, path, body, doing=doing, timeout=timeout)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise NotPrefect(self.url, NO_JSON) from error

    def find(self, path: str, *, doing: str) -> Any | None:
        """Return the document at ``path``, or None if there is none."""
        try:
            return self.request("GET", path, doing=doing)
        except Refused as refusal:
            _raise_unless_absent(refusal)
            return None

    def delete(self, path: str, *, doing: str) -> bool:
        """Delete the object at ``path``; return False if there was none."""
        try:
            self.request("DELETE", path, doing=doing)
        except Refused as refusal:
            _raise_unless_absent(refusal)
            return False
        return True

    def pages(self, path: str, body: Mapping[str, object], *, doing: str) -> Iterator[Any]:
        """Yield every document that a ``…/filter`` route finds, page after page."""
        offset = 0
        while True:
            page = {**body, "limit": PAGE, "offset": offset}
            found = self.request("POST", path, page, doing=doing)
            yield from found
            if len(found) < PAGE:
                return
            offset += PAGE


PAGE = 200
"""Documents in one answer: the maximum of a server with default settings."""


def split_chunks(identities: Iterable[UUID]) -> Iterator[list[UUID]]:
    """Yield the distinct ids in lists that fit one filter and one answer."""
    unique = list(dict.fromkeys(identities))
    for start in range(0, len(unique), PAGE):
        yield unique[start : start + PAGE]


class Calls:
    """Base of the groups of calls that the gateway consists of.

    The groups share one object, so they hold public methods only; what is private to a group is a
    function of its module.
    """

    def __init__(self, api: Api) -> None:
        self._api = api


def convert_absent(refusal: Refused, kind: str, identity: object) -> PermanentError:
    """Return NotFound for a 404, otherwise the refusal itself."""
    if refusal.status == httpx.codes.NOT_FOUND:
        return NotFound(kind, str(identity))
    return refusal


class _LateApi(Api):
    """A connection that is made when it is first used; whoever only reads may never need it."""

    def __init__(self, connect: Callable[[], SyncPrefectClient]) -> None:
        self._connect = connect

    @cached_property
    def _client(self) -> SyncPrefectClient:  # type: ignore[override]  # an attribute of the base
        client = self._connect()
        client.__enter__()
        return client

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "_client" in self.__dict__:
            super().close()


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Translate exceptions of Prefect's client in the block into this project's errors."""
    import prefect.exceptions

    try:
        yield
    except InstancesError:
        raise
    except httpx.HTTPStatusError as error:
        raise _refusal(doing, error.response) from error
    except prefect.exceptions.PrefectException as error:
        cause = getattr(error, "http_exc", None)
        if isinstance(cause, httpx.HTTPStatusError):
            raise _refusal(doing, cause.response) from error
        raise PermanentError(f"cannot {doing}: {_line(str(error))}") from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise Unavailable(SERVICE, _connection_problem(error)) from error


def _encoded(body: object, doing: str) -> bytes:
    try:
        return to_json(body, inf_nan_mode="null")
    except PydanticSerializationError as error:
        raise PermanentError(f"cannot {doing}: {_line(str(error))}") from error


def _raise_unless_absent(refusal: Refused) -> None:
    if refusal.status != httpx.codes.NOT_FOUND:
        raise refusal


def _connection_problem(error: httpx.RequestError | httpx.InvalidURL) -> str:
    request = getattr(error, "_request", None)
    address = f" at {request.url.host}:{request.url.port}" if request is not None else ""
    return f"no connection{address} ({_line(str(error)) or type(error).__name__})"


def _refusal(doing: str, response: httpx.Response) -> InstancesError:
    status, reason = response.status_code, _reason(response)
    if status in UNKNOWN_ROUTE and _is_foreign(response):
        # Not a refusal: nothing that looks deleted may have been deleted.
        where = f"{response.request.url.scheme}://{response.request.url.netloc.decode()}"
        return NotPrefect(where, f"answers {status}, but not as Prefect's API")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        reason += "; set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in RETRY_LATER:
        return Unavailable(SERVICE, f"it answered {status} when asked to {doing}: {reason}")
    return Refused(doing, status, reason)


def _is_foreign(response: httpx.Response) -> bool:
    """Return True if no route of Prefect's API answered: another server, or a wrong path."""
    try:
        document = response.json()
    except ValueError:
        return True
    said = document.get("detail") if isinstance(document, dict) else None
    known = isinstance(document, dict) and {"detail", "exception_message"} & document.keys()
    return not known or said in ("Not Found", "Method Not Allowed")


def _reason(response: httpx.Response) -> str:
    """Return the server's explanation as one line, without the request, which may hold secrets."""
    try:
        document = response.json()
    except ValueError:
        page = response.text.lstrip().startswith("<")
        return (not page and _line(response.text)) or response.reason_phrase
    if not isinstance(document, dict):
        return _line(str(document))
    problems = document.get("exception_detail") or document.get("detail")
    if isinstance(problems, list):
        return _line("; ".join(_problems(problems)))
    return _line(str(problems or document.get("exception_message") or response.reason_phrase))


def _problems(problems: list[Any]) -> list[str]:
    """Return validation errors as ``field: message``; a violated rule precedes a wrong type."""
    broken = [problem for problem in problems if problem.get("type") == "value_error"] or problems
    lines = []
    for problem in broken[:_REASONS_SHOWN]:
        place = ".".join(str(part) for part in problem.get("loc", ()) if part != "body")
        message = str(problem.get("msg", "")).removeprefix("Value error, ")
        lines.append(f"{place}: {message}" if place else message)
    return lines


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_LENGTH else line[: _REASON_LENGTH - 1] + "…"
