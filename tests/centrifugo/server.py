"""The contract server: both protocols on one port, in a thread, with faults at will."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.centrifugo.hub import Hub, Refused
from tests.centrifugo.session import Session

SLOW_SECONDS = 10.0


class ContractServer:
    """A server with the namespaces of docs/realtime.md; ``fault`` spoils the HTTP API.

    ``fault`` is "" or one of slow, 500, 401, garbage; "down" is ``stop``.
    """

    def __init__(
        self,
        api_key: str = "api-key-of-tests",
        secret: str = "secret-of-tests-that-is-long-enough",  # of tests
        history_size: int = 1000,
        ping: float = 25.0,
        namespaces: set[str] | None = None,
    ) -> None:
        self.api_key, self.secret, self.ping = api_key, secret, ping
        self.hub = Hub(namespaces or {"instance", "project"}, history_size)
        self.fault = ""
        self.requests = 0
        self.sessions: set[Session] = set()
        self.port = _free_port()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    def start(self) -> ContractServer:
        app = Starlette(
            routes=[
                Route("/api/{method}", self._api, methods=["POST"]),
                WebSocketRoute("/connection/websocket", self._websocket),
            ]
        )
        config = uvicorn.Config(
            app, port=self.port, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        started = threading.Event()
        while not self._server.started:
            started.wait(0.01)
        return self

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(20)
        self._server = None

    def __enter__(self) -> ContractServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def published(self, channel: str) -> list[Any]:
        """What was published to a channel, in order, repetitions dropped."""
        return [data for name, data in list(self.hub.published) if name == channel]

    def disconnect(self, body: dict[str, Any]) -> dict[str, Any]:
        """End the connections of a user; the code says whether they are to come again."""
        how = body.get("disconnect") or {"code": 3503, "reason": "force disconnect"}
        for session in [s for s in self.sessions if s.user == body["user"]]:
            session.end((how["code"], how["reason"]))
        return {}

    async def _api(self, request: Request) -> Response:
        self.requests += 1
        spoilt = await self._spoilt()
        if spoilt is not None:
            return spoilt
        if request.headers.get("x-api-key") != self.api_key:
            return PlainTextResponse("Unauthorized", status_code=401)
        try:
            body = json.loads(await request.body())
            method = request.path_params["method"]
            call = self.disconnect if method == "disconnect" else partial(self.hub.call, method)
            return JSONResponse({"result": call(body)})
        except Refused as refusal:
            return JSONResponse({"error": refusal.document})
        except ValueError:
            return PlainTextResponse("bad request", status_code=400)
        except KeyError:
            return PlainTextResponse("not found", status_code=404)

    async def _spoilt(self) -> Response | None:
        """The answer that the fault gives instead of the right one."""
        if self.fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
            return None
        if self.fault == "garbage":
            return PlainTextResponse("<html>it works!</html>")
        return PlainTextResponse("no", status_code=int(self.fault)) if self.fault else None

    async def _websocket(self, socket: WebSocket) -> None:
        session = Session(self.hub, socket, self.secret, self.ping)
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
