"""Which Centrifugo the tests talk to: the contract server, or the one of ``CENTRIFUGO_URL``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from tests.centrifugo.server import ContractServer


@pytest.fixture
def server() -> Iterator[ContractServer]:
    """The contract server, for what a real one is not asked: faults, cut connections."""
    with ContractServer() as started:
        yield started


@pytest.fixture(scope="session")
def centrifugo() -> Iterator[Connection]:
    """Where to publish and subscribe."""
    if address := os.environ.get("CENTRIFUGO_URL"):
        yield Connection(
            url=address,
            api_key=SecretStr(os.environ["CENTRIFUGO_API_KEY"]),
            hmac_secret=SecretStr(os.environ["CENTRIFUGO_HMAC_SECRET"]),
        )
        return
    with ContractServer() as started:
        yield connection_to(started)


def connection_to(server: ContractServer, **more: object) -> Connection:
    """The block of a contract server."""
    return Connection.model_validate(
        {"url": server.url, "api_key": server.api_key, "hmac_secret": server.secret, **more}
    )
