"""Pictures of block types: on the server if it serves them, else on the public host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from starlette.applications import Starlette

from prefect_instances.blocks import BLOCKS, Centrifugo, ObjectStore
from prefect_instances.blocks.pictured_block import PicturedBlock
from prefect_instances.libs.adapters.prefect.pictures import (
    FOLDER,
    HOSTED,
    ROUTE,
    address_picture,
    mount_pictures,
)

POLL_SECONDS = 0.01
"""How soon the server ends when it is asked to."""


@contextmanager
def prefect_that_answers(content_type: str) -> Iterator[str]:
    """Make a server Prefect's that answers every path in the same way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    try:
        with temporary_settings({PREFECT_API_URL: f"{root}/api"}):
            yield root
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("block", [*BLOCKS, Centrifugo, ObjectStore])
def test_a_block_type_has_a_picture_that_ships(block: type[PicturedBlock]) -> None:
    with prefect_that_answers("image/svg+xml") as root:
        registered = block._to_block_type()
    assert str(registered.logo_url) == f"{root}{ROUTE}/{block.PICTURE}.svg"
    assert (FOLDER / f"{block.PICTURE}.svg").read_text().count("</svg>") == 1


def test_the_page_of_the_ui_is_where_the_browser_finds_the_picture() -> None:
    with prefect_that_answers("image/svg+xml; charset=utf-8") as root:
        settings = {PREFECT_API_URL: "http://prefect:4200/api", PREFECT_UI_URL: f"{root}/"}
        with temporary_settings(settings):
            picture = address_picture("history")
    assert str(picture) == f"{root}{ROUTE}/history.svg"


def test_a_server_without_the_pictures_gets_those_of_the_public_host() -> None:
    with prefect_that_answers("text/html"):  # as Prefect answers an unknown path
        assert str(address_picture("history")) == f"{HOSTED}/history.svg"


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "http://[::1"])
def test_a_server_that_does_not_answer_has_no_pictures(server: str) -> None:
    with temporary_settings({PREFECT_UI_URL: server}):
        assert str(address_picture("history")) == f"{HOSTED}/history.svg"


def test_a_picture_that_does_not_ship_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no nothing\.svg"):
        address_picture("nothing")


def test_the_pictures_come_before_pages_that_answer_every_path() -> None:
    app = Starlette()
    app.mount("/", Starlette())
    transport = httpx.ASGITransport(mount_pictures(app))
    client = httpx.AsyncClient(transport=transport, base_url="http://pages")
    answer = asyncio.run(client.get(f"{ROUTE}/database.svg"))
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.content == (FOLDER / "database.svg").read_bytes()
