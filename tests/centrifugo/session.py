"""One websocket connection in Centrifugo's JSON protocol: commands in, replies and pushes out."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.centrifugo.hub import (
    BAD_REQUEST,
    PERMISSION_DENIED,
    TOKEN_EXPIRED,
    Hub,
    Refused,
    Stream,
)

INVALID_TOKEN = (3500, "invalid token")
EXPIRED = (3005, "connection expired")
INSUFFICIENT = (3010, "insufficient state")
NO_PONG = (3012, "no pong")
SUBSCRIPTION_EXPIRED = 2501


class Disconnect(Exception):
    """The connection is closed with a code that tells the client whether to come again."""

    def __init__(self, reason: tuple[int, str]) -> None:
        self.code, self.reason = reason
        super().__init__(self.reason)


@dataclass(eq=False)
class Place:
    """A subscription of one connection."""

    session: Session
    channel: str
    stream: Stream
    expires: float

    def push(self, _: str, publication: dict[str, Any]) -> None:
        self.session.send({"push": {"channel": self.channel, "pub": publication}})

    def insufficient(self) -> None:
        self.session.end(INSUFFICIENT)


class Session:
    """Speaks with one client until either side leaves."""

    def __init__(self, hub: Hub, socket: WebSocket, secret: str, ping: float) -> None:
        self.hub, self.socket, self.secret, self.ping = hub, socket, secret, ping
        self.user, self.expires = "", 0.0
        self.places: dict[str, Place] = {}
        self.outgoing: asyncio.Queue[dict[str, Any] | Disconnect] = asyncio.Queue()
        self.heard = time.monotonic()
        self.pongs = 0

    async def run(self) -> None:
        await self.socket.accept()
        tasks = [asyncio.ensure_future(t) for t in (self._read(), self._write(), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for place in self.places.values():
                place.stream.members.discard(place)

    def send(self, document: dict[str, Any]) -> None:
        self.outgoing.put_nowait(document)

    def end(self, reason: tuple[int, str]) -> None:
        self.outgoing.put_nowait(Disconnect(reason))

    async def _write(self) -> None:
        while True:
            item = await self.outgoing.get()
            if isinstance(item, Disconnect):
                await self.socket.close(item.code, item.reason)
                return
            await self.socket.send_text(json.dumps(item))

    async def _read(self) -> None:
        try:
            while True:
                text = await self.socket.receive_text()
                self.heard = time.monotonic()
                for line in text.strip().split("\n"):
                    self._take(json.loads(line))
        except WebSocketDisconnect:
            return
        except Disconnect as gone:
            self.end((gone.code, gone.reason))
            await asyncio.sleep(5)

    async def _watch(self) -> None:
        """Pings, silence, and tokens that ran out."""
        pinged = time.monotonic()
        while True:
            await asyncio.sleep(min(self.ping, 0.1))
            now = time.monotonic()
            if self.user and now - pinged >= self.ping:
                if self.heard < pinged - self.ping:
                    self.end(NO_PONG)
                self.send({})
                pinged = now
            if self.expires and time.time() > self.expires + 1:
                self.end(EXPIRED)
            for place in [p for p in self.places.values() if time.time() > p.expires + 1]:
                self._leave(place.channel)
                push = {"code": SUBSCRIPTION_EXPIRED, "reason": "subscription expired"}
                self.send({"push": {"channel": place.channel, "unsubscribe": push}})

    def _take(self, command: dict[str, Any]) -> None:
        if not command:
            self.pongs += 1
            return
        name = next(key for key in command if key != "id")
        try:
            reply = {name: self._answer(name, command[name])}
        except Refused as refusal:
            reply = {"error": refusal.document}
        self.send({"id": command["id"], **reply})

    def _answer(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name == "connect":
            return self._connect(body)
        if not self.user:
            raise Disconnect((3501, "bad request"))
        if name == "subscribe":
            return self._subscribe(body)
        if name == "unsubscribe":
            self._leave(body["channel"])
            return {}
        if name == "refresh":
            return self._lasting(self._admit(body.get("token", "")))
        if name == "sub_refresh":
            return self._refresh_place(body)
        if name == "history":
            if body.get("channel") not in self.places:
                raise Refused(PERMISSION_DENIED)
            return self.hub.history(body)
        raise Refused(BAD_REQUEST)

    def _connect(self, body: dict[str, Any]) -> dict[str, Any]:
        claims = self._admit(body.get("token", ""))
        times = self._lasting(claims)
        pings = {"ping": max(1, int(self.ping)), "pong": True}
        return {"client": str(uuid4()), "version": "contract", **pings, **times}

    def _admit(self, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, self.secret, algorithms=["HS256"])
        except jwt.ExpiredSignatureError:
            raise Refused(TOKEN_EXPIRED) from None
        except jwt.InvalidTokenError:
            raise Disconnect(INVALID_TOKEN) from None
        if "channel" in claims:
            raise Disconnect(INVALID_TOKEN)
        self.user = claims["sub"]
        return claims

    def _lasting(self, claims: dict[str, Any]) -> dict[str, Any]:
        self.expires = claims.get("exp", 0)
        return _times(self.expires)

    def _permitted(self, channel: str, token: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, self.secret, algorithms=["HS256"])
        except jwt.ExpiredSignatureError:
            raise Refused(TOKEN_EXPIRED) from None
        except jwt.InvalidTokenError:
            raise Refused(PERMISSION_DENIED) from None
        if claims.get("channel") != channel or claims.get("sub") != self.user:
            raise Refused(PERMISSION_DENIED)
        return claims

    def _subscribe(self, body: dict[str, Any]) -> dict[str, Any]:
        channel = body["channel"]
        stream = self.hub.stream(channel)
        expires = self._permitted(channel, body.get("token", "")).get("exp", float("inf"))
        place = Place(self, channel, stream, expires)
        self._leave(channel)
        self.places[channel] = place
        stream.members.add(place)
        position = {"recoverable": True, "positioned": True, "epoch": stream.epoch}
        reply = {**position, "offset": stream.offset, **_times(expires)}
        if body.get("recover"):
            missed = stream.since(body.get("offset", 0), body.get("epoch", ""))
            reply |= {"was_recovering": True, "recovered": missed is not None}
            reply |= {"publications": missed} if missed else {}
        return reply

    def _refresh_place(self, body: dict[str, Any]) -> dict[str, Any]:
        place = self.places.get(body["channel"])
        if place is None:
            raise Refused(PERMISSION_DENIED)
        claims = self._permitted(body["channel"], body.get("token", ""))
        place.expires = claims.get("exp", float("inf"))
        return _times(place.expires)

    def _leave(self, channel: str) -> None:
        place = self.places.pop(channel, None)
        if place is not None:
            place.stream.members.discard(place)


def _times(expires: float) -> dict[str, Any]:
    if not expires or expires == float("inf"):
        return {}
    return {"expires": True, "ttl": max(1, int(expires - time.time()))}
