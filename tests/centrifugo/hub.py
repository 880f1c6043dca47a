"""Channels with their histories, and who is subscribed: the state behind both protocols."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

UNKNOWN_CHANNEL = (102, "unknown channel")
PERMISSION_DENIED = (103, "permission denied")
BAD_REQUEST = (107, "bad request")
NOT_AVAILABLE = (108, "not available")
TOKEN_EXPIRED = (109, "token expired")
UNRECOVERABLE = (112, "unrecoverable position")

IDEMPOTENCY_SECONDS = 300


class Refused(Exception):
    """A command is answered by an error: its code and message."""

    def __init__(self, error: tuple[int, str]) -> None:
        self.code, self.message = error
        super().__init__(self.message)

    @property
    def document(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message}


class Member(Protocol):
    """Somebody subscribed."""

    def push(self, channel: str, publication: dict[str, Any]) -> None: ...

    def insufficient(self) -> None: ...


@dataclass
class Stream:
    """One channel: publications with offsets in an epoch, the last ``size`` of them."""

    size: int
    epoch: str = field(default_factory=lambda: uuid4().hex[:8])
    offset: int = 0
    publications: deque[dict[str, Any]] = field(default_factory=deque)
    members: set[Member] = field(default_factory=set)
    results: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def publish(self, data: Any, key: str) -> dict[str, Any]:
        self._forget_results()
        if key and key in self.results:
            return self.results[key][1]
        self.offset += 1
        publication = {"data": data, "offset": self.offset}
        self.publications.append(publication)
        while len(self.publications) > self.size:
            self.publications.popleft()
        for member in list(self.members):
            member.push("", publication)
        result = {"offset": self.offset, "epoch": self.epoch}
        if key:
            self.results[key] = (time.monotonic(), result)
        return result

    def since(self, offset: int, epoch: str) -> list[dict[str, Any]] | None:
        """What came after a position; None where that is not all known."""
        if epoch not in ("", self.epoch) or offset > self.offset:
            return None
        missing = self.offset - offset
        if missing > len(self.publications):
            return None
        return list(self.publications)[len(self.publications) - missing :]

    def _forget_results(self) -> None:
        before = time.monotonic() - IDEMPOTENCY_SECONDS
        while self.results and (oldest := next(iter(self.results))):
            if self.results[oldest][0] >= before:
                return
            del self.results[oldest]


class Hub:
    """All channels of the namespaces that are configured."""

    def __init__(self, namespaces: set[str], history_size: int) -> None:
        self.namespaces, self.history_size = namespaces, history_size
        self.streams: dict[str, Stream] = {}
        self.published: list[tuple[str, Any]] = []

    def stream(self, channel: str) -> Stream:
        if ":" not in channel or channel.partition(":")[0] not in self.namespaces:
            raise Refused(UNKNOWN_CHANNEL)
        return self.streams.setdefault(channel, Stream(self.history_size))

    def forget(self, channel: str) -> None:
        """Lose a history, as a restart does: positioned subscribers are told to come again."""
        old = self.streams.pop(channel, None)
        for member in list(old.members) if old else []:
            member.insufficient()

    def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """One method of the server API."""
        if method == "publish":
            return self._publish(body)
        if method == "history":
            return self.history(body)
        if method == "info":
            return {"nodes": []}
        if method in ("presence", "presence_stats"):
            self.stream(_channel(body))
            raise Refused(NOT_AVAILABLE)
        raise KeyError(method)

    def _publish(self, body: dict[str, Any]) -> dict[str, Any]:
        if "data" not in body:
            raise Refused(BAD_REQUEST)
        channel = _channel(body)
        stream = self.stream(channel)
        before = stream.offset
        result = stream.publish(body["data"], body.get("idempotency_key") or "")
        if stream.offset > before:
            self.published.append((channel, body["data"]))
        return result

    def history(self, body: dict[str, Any]) -> dict[str, Any]:
        stream = self.stream(_channel(body))
        limit, since = body.get("limit") or 0, body.get("since")
        found = list(stream.publications)
        if since is not None:
            after = stream.since(since.get("offset", 0), since.get("epoch", ""))
            if after is None:
                raise Refused(UNRECOVERABLE)
            found = after
        if body.get("reverse"):
            found.reverse()
        chosen = found if limit < 0 else found[:limit]
        return {"publications": chosen, "offset": stream.offset, "epoch": stream.epoch}


def _channel(body: dict[str, Any]) -> str:
    channel = body.get("channel")
    if not isinstance(channel, str) or not channel:
        raise Refused(BAD_REQUEST)
    return channel
