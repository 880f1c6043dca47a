"""How the answers of a Prefect server, and its silence, become errors of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_instances.cli.doctor_checks import Level, check_server
from prefect_instances.cli.runtime.server import Server
from prefect_instances.libs.adapters.prefect import PrefectGateway, Refused
from prefect_instances.libs.adapters.prefect.api import API_ADVICE, PAGE, Api, NotPrefect
from prefect_instances.libs.core.errors import NotFound, PermanentError, Unavailable
from prefect_instances.libs.core.events import Event

Handler = Callable[[httpx.Request], httpx.Response]


@contextmanager
def gateway_to(handler: Handler) -> Iterator[PrefectGateway]:
    """A gateway whose server is a function; a failed request is not sent again."""
    settings = {"transport": httpx.MockTransport(handler)}
    client = SyncPrefectClient("http://prefect.test/api", httpx_settings=settings)
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        PrefectGateway(Api(client)) as gateway,
    ):
        yield gateway


def answering(status: int, document: object = None, text: str | None = None) -> Handler:
    """A server that always answers the same; it has no CSRF protection."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/csrf-token"):
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        at_once = {"Retry-After": "0"}
        if text is not None:
            return httpx.Response(status, text=text, headers=at_once)
        return httpx.Response(status, json=document, headers=at_once)

    return handle


def event(**changes: object) -> Event:
    values: dict[str, object] = {
        "id": uuid4(),
        "name": "instance.flow.ready",
        "occurred": datetime(2026, 1, 2, tzinfo=UTC),
        "resource": {"prefect.resource.id": "instance.flow.x"},
        "related": (),
        "payload": {},
    }
    return Event(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_failing_or_overloaded_server_is_unavailable(status: int) -> None:
    with (
        gateway_to(answering(status, {"detail": "busy"})) as gateway,
        pytest.raises(Unavailable) as caught,
    ):
        gateway.read_run(uuid4())
    assert caught.value.service == "Prefect API"
    assert str(status) in caught.value.detail


@pytest.mark.parametrize("status", [400, 401, 403, 405, 409, 422])
def test_a_refusal_is_permanent_and_keeps_its_status(status: int) -> None:
    with (
        gateway_to(answering(status, {"detail": "no"})) as gateway,
        pytest.raises(Refused) as caught,
    ):
        gateway.read_run(uuid4())
    assert caught.value.status == status


def test_nothing_found_is_none_false_or_not_found_by_the_call() -> None:
    with gateway_to(answering(404, {"detail": "Not found"})) as gateway:
        assert gateway.find_deployment(uuid4()) is None
        assert gateway.find_deployment_by_name("a/b") is None
        assert gateway.find_block_document("a", "b") is None
        assert gateway.delete_deployment(uuid4()) is False
        assert gateway.crash_run(uuid4(), "gone") is False
        with pytest.raises(NotFound):
            gateway.read_run(uuid4())
        with pytest.raises(NotFound):
            gateway.start_run(uuid4(), {})
        with pytest.raises(NotFound):
            gateway.set_deployment_paused(uuid4(), True)


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(answering(404, text="<html>nginx</html>"), id="another-web-server"),
        pytest.param(answering(404, {"error": "no such page"}), id="another-api"),
        pytest.param(answering(404, {"detail": "Not Found"}), id="without-api"),
        pytest.param(answering(405, {"detail": "Method Not Allowed"}), id="post-to-a-page"),
        pytest.param(answering(501, text="<html>no POST</html>"), id="a-server-of-files"),
    ],
)
def test_what_another_server_does_not_have_is_not_deleted(handler: Handler) -> None:
    with gateway_to(handler) as gateway:
        for call in (gateway.find_deployment, gateway.delete_deployment, gateway.read_run):
            with pytest.raises(Unavailable, match="check PREFECT_API_URL, which ends in /api"):
                call(uuid4())


def test_a_socks_proxy_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")

    with pytest.raises(PermanentError, match="names a SOCKS proxy") as refused:
        PrefectGateway.connect("http://127.0.0.1:9/api")

    assert len(str(refused.value).splitlines()) == 1


def test_no_connection_is_unavailable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with gateway_to(refuse) as gateway, pytest.raises(Unavailable):
        gateway.read_run(uuid4())


def test_an_answer_that_is_not_json_is_unavailable() -> None:
    with (
        gateway_to(answering(200, text="<html>a proxy</html>")) as gateway,
        pytest.raises(Unavailable),
    ):
        gateway.read_run(uuid4())


def test_a_refusal_is_one_line_that_names_the_field_and_not_the_request() -> None:
    detail = {
        "type": "value_error",
        "loc": ["body", "key"],
        "msg": "Value error, must be\nlower case",
        "input": {"password": "hunter2"},
    }
    kind = {"type": "extra_forbidden", "loc": ["body", "other"], "msg": "Extra inputs"}
    document = {"exception_message": "Invalid request.", "exception_detail": [kind, detail]}
    with gateway_to(answering(422, document)) as gateway, pytest.raises(Refused) as caught:
        gateway.create_artifact("Key", "markdown", "text")
    line = str(caught.value)
    assert "key: must be lower case" in line
    assert "\n" not in line
    assert "hunter2" not in line


def test_refused_credentials_say_what_to_set() -> None:
    with (
        gateway_to(answering(401, {"detail": "Unauthorized"})) as gateway,
        pytest.raises(PermanentError, match="PREFECT_API_AUTH_STRING"),
    ):
        gateway.read_run(uuid4())


def test_without_a_configured_server_connecting_fails_at_once() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(Unavailable):
        PrefectGateway.connect()


def test_an_unhealthy_server_has_no_version() -> None:
    with gateway_to(answering(500, {"detail": "no database"})) as gateway:
        assert gateway.health() is None


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (answering(200, text="<html>the page of Prefect"), "answers something that is not JSON"),
        (answering(404, text="<html>nginx"), "answers 404, but not as Prefect's API"),
    ],
)
def test_another_server_at_the_address_is_no_silence(handler: Handler, found: str) -> None:
    with gateway_to(handler) as gateway, pytest.raises(NotPrefect) as caught:
        gateway.health()
    with gateway_to(handler) as gateway:
        told = check_server(gateway, Server("http://prefect.test", embedded=False))

    assert found in str(caught.value)
    assert (told.level, told.advice) == (Level.FAIL, API_ADVICE)
    assert told.detail.startswith("http://prefect.test")
    assert told.detail.endswith(found)


def test_the_doctor_tells_that_the_credentials_are_refused() -> None:
    with gateway_to(answering(401, {"detail": "Unauthorized"})) as gateway:
        told = check_server(gateway, Server("http://prefect.test", embedded=False))

    assert told.level is Level.FAIL
    assert "PREFECT_API_AUTH_STRING" in told.detail


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answering(502, text="<html>Bad Gateway</html>"), "it answered 502"),
        (answering(500, {"detail": "no database"}), "it answered 500"),
    ],
)
def test_a_server_that_is_away_is_told_after_few_requests(answer: Handler, said: str) -> None:
    asked: list[httpx.Request] = []

    def count(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer(request)

    with (
        gateway_to(count) as gateway,
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 9}),
        pytest.raises(Unavailable) as caught,
    ):
        gateway.require_answer()

    assert said in caught.value.detail
    assert "<html>" not in caught.value.detail
    assert caught.value.detail.endswith("`instances doctor` says what to do")
    assert len(asked) <= 2


@pytest.mark.usefixtures("retries_at_once")
def test_a_server_that_is_only_slow_is_waited_for() -> None:
    def be_slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("3 seconds are over", request=request)

    with gateway_to(be_slow) as gateway:
        gateway.require_answer()


def test_a_page_in_the_place_of_a_token_is_another_server() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="<html>the page of Prefect", request=request)

    with gateway_to(page) as gateway, pytest.raises(NotPrefect, match="ends in /api"):
        gateway.start_run(uuid4(), {})


def test_parameters_may_hold_ids_and_dates() -> None:
    sent: list[bytes] = []

    def remember(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return answering(404, {"detail": "Not found"})(request)

    identity = UUID(int=7)
    with gateway_to(remember) as gateway, pytest.raises(NotFound):
        gateway.start_run(uuid4(), {"id": identity, "day": date(2026, 1, 2), "nan": float("nan")})
    parameters = json.loads(sent[-1])["parameters"]
    assert parameters == {"id": str(identity), "day": "2026-01-02", "nan": None}


def test_what_cannot_be_written_as_json_is_permanent() -> None:
    with gateway_to(answering(200)) as gateway, pytest.raises(PermanentError):
        gateway.start_run(uuid4(), {"value": object()})


RESOURCE = {"prefect.resource.id": "a.b", "prefect.resource.role": "instance"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"occurred": datetime(2026, 1, 2)}, id="naive time"),  # noqa: DTZ001
        pytest.param({"resource": {"name": "x"}}, id="resource without id"),
        pytest.param({"related": ({"prefect.resource.id": "a.b"},)}, id="related without role"),
        pytest.param({"related": (RESOURCE,) * 101}, id="too many related"),
        pytest.param({"payload": {"text": "x" * 1_500_000}}, id="too long"),
        pytest.param({"payload": {"value": object()}}, id="no JSON"),
    ],
)
def test_an_event_that_the_server_would_drop_or_refuse_is_named_before_any_is_sent(
    changes: dict[str, object],
) -> None:
    sent: list[httpx.Request] = []

    def remember(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(204)

    bad = event(**changes)
    with gateway_to(remember) as gateway, pytest.raises(PermanentError, match=str(bad.id)):
        gateway.publish([event(), bad])
    assert sent == []


def test_events_are_posted_in_order_and_a_hundred_at_a_time() -> None:
    batches: list[list[str]] = []

    def remember(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/events":
            batches.append([item["id"] for item in json.loads(request.content)])
            return httpx.Response(204)
        return answering(200)(request)

    events = [event() for _ in range(250)]
    with gateway_to(remember) as gateway:
        gateway.publish(events)
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert [identity for batch in batches for identity in batch] == [str(e.id) for e in events]


def test_publishing_nothing_sends_nothing() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request)

    with gateway_to(refuse) as gateway:
        gateway.publish([])


def test_importing_the_adapter_does_not_import_prefect() -> None:
    check = (
        "import sys, prefect_instances.libs.adapters.prefect; sys.exit('prefect' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_pages_are_read_until_one_is_not_full() -> None:
    held, offsets = list(range(PAGE + 1)), list[int]()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/csrf-token"):
            return httpx.Response(422, json={"detail": "CSRF protection is disabled."})
        asked = json.loads(request.content)
        offsets.append(asked["offset"])
        return httpx.Response(200, json=held[asked["offset"] :][: asked["limit"]])

    settings = {"transport": httpx.MockTransport(handle)}
    api = Api(SyncPrefectClient("http://prefect.test/api", httpx_settings=settings))
    assert list(api.pages("/things/filter", {}, doing="list things")) == held
    assert offsets == [0, PAGE]
