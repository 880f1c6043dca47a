"""The publisher against the contract server: what is accepted, and what an error may say."""

from __future__ import annotations

import traceback
from uuid import uuid4

import pytest
from cent import Client, HistoryRequest, InfoRequest, PresenceRequest
from cent.exceptions import CentApiResponseError
from pydantic import SecretStr, ValidationError

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.adapters.centrifugo.publisher import Publisher, _refused
from prefect_instances.libs.core.errors import InstancesError, PermanentError, Unavailable
from tests.centrifugo.fixtures import connection_to
from tests.centrifugo.server import ContractServer

SECRET = "planted-secret-8d1f"
CHANNEL = f"instance:{uuid4()}:status"
PAGED = f"project:{uuid4()}:status"


def client(connection: Connection) -> Client:
    return Client(connection.url, connection.api_key.get_secret_value())


def test_a_message_is_published_once_for_each_key(centrifugo: Connection) -> None:
    publisher = Publisher(centrifugo)
    for key in ("a", "a", "b", "a"):
        publisher.publish(CHANNEL, {"key": key}, key)
    publisher.close()
    history = client(centrifugo).history(HistoryRequest(channel=CHANNEL, limit=-1))
    assert [publication.data for publication in history.publications][-2:] == [
        {"key": "a"},
        {"key": "b"},
    ]


def test_history_pages_from_a_position(centrifugo: Connection) -> None:
    publisher = Publisher(centrifugo)
    for number in range(5):
        publisher.publish(PAGED, {"n": number}, f"page-{number}")
    top = client(centrifugo).history(HistoryRequest(channel=PAGED))
    assert top.publications == []
    since = {"offset": top.offset - 2, "epoch": top.epoch}
    page = client(centrifugo).history(
        HistoryRequest.model_validate({"channel": PAGED, "limit": 10, "since": since})
    )
    assert [publication.data["n"] for publication in page.publications] == [3, 4]
    newest = client(centrifugo).history(HistoryRequest(channel=PAGED, limit=1, reverse=True))
    assert newest.publications[0].data == {"n": 4}


def test_a_namespace_that_is_not_configured_is_named(centrifugo: Connection) -> None:
    with pytest.raises(PermanentError, match=r"no namespace 'unheard'.*docs/realtime\.md"):
        Publisher(centrifugo).publish("unheard:of", {}, "k")
    with pytest.raises(CentApiResponseError) as refusal:
        client(centrifugo).presence(PresenceRequest(channel="unheard:of"))
    assert refusal.value.code == 102


def test_the_server_tells_of_itself(centrifugo: Connection) -> None:
    assert client(centrifugo).info(InfoRequest()) is not None


@pytest.mark.parametrize("fault", ["slow", "500", "401", "garbage", "down"])
def test_no_error_holds_the_key_or_the_vendors_exception(
    server: ContractServer, fault: str
) -> None:
    seconds = 0.2 if fault == "slow" else 30
    connection = connection_to(server, api_key=SECRET, timeout_seconds=seconds)
    if fault == "down":
        server.stop()
    else:
        server.fault = fault
    with pytest.raises(InstancesError) as caught:
        Publisher(connection).publish(CHANNEL, {}, "k")
    kind = PermanentError if fault == "401" else Unavailable
    assert isinstance(caught.value, kind)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "fault",
    [
        {"api_key": f"{SECRET}\n"},
        {"api_key": f"{SECRET}é"},
        {"hmac_secret": ""},
        {"url": f"http://user:{SECRET}@localhost/api"},
        {"url": f"ftp://{SECRET}"},
        {"websocket_url": f"http://{SECRET}"},
        {"timeout_seconds": 0},
        {"token_seconds": 5},
    ],
)
def test_a_faulty_block_is_refused_without_its_secret(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Connection.model_validate({"api_key": SECRET, "hmac_secret": SECRET, **fault})
    assert SECRET not in str(caught.value)


def test_addresses_are_completed_and_secrets_are_not_shown() -> None:
    connection = Connection(
        url="https://live.example", api_key=SecretStr(SECRET), hmac_secret=SecretStr(SECRET)
    )
    assert connection.url == "https://live.example/api"
    assert connection.subscribe_at == "wss://live.example/connection/websocket"
    assert SECRET not in f"{connection!r} {connection} {connection.model_dump_json()}"


def test_an_internal_error_passes_and_any_other_stays() -> None:
    assert isinstance(_refused(CentApiResponseError(100, "internal"), CHANNEL), Unavailable)
    assert isinstance(_refused(CentApiResponseError(108, "no"), CHANNEL), PermanentError)
