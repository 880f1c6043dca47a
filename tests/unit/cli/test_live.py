"""``instances watch``: lines, a table that is drawn again, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Any

import pytest

from prefect_instances.cli.app import main
from prefect_instances.cli.commands import live
from prefect_instances.libs.core.errors import PermanentError

CHANGE = {
    "type": "instance.flow.ready",
    "seq": 3,
    "instance": "6f0c",
    "name": "demo/prices",
    "flow_kind": "refresh",
    "old_status": "RUNNING",
    "new_status": "READY",
    "reason": "RunSucceeded",
    "generation": 1,
    "timestamp": "2026-11-25T07:30:00.123456+00:00",
}


class World:
    """What the services would say; ``error`` is raised after the messages."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = [{"type": "reload"}, CHANGE]
        self.error: Exception | None = None
        self.reads = 0

    async def watch(self, *_: Any) -> AsyncIterator[dict[str, Any]]:
        for message in self.messages:
            yield message
        if self.error:
            raise self.error

    def status(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.reads += 1
        flow = {
            "kind": "refresh",
            "status": "READY" if self.reads > 1 else "RUNNING",
            "reason": None,
            "message": "",
            "since": None,
            "generation": self.reads,
            "last_data_date": None,
            "blocked_by": [],
        }
        entry = {"project": "demo", "name": "prices", "type": "DatasetInstance"}
        entry |= {"lifecycle": "ACTIVE", "freshness": "FRESH", "status": flow["status"]}
        return {"instances": [{**entry, "condition": None, "flows": [flow]}]}


class Services:
    database = None


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    @contextmanager
    def services() -> Any:
        yield Services()

    monkeypatch.setattr("prefect_instances.cli.commands.live.open_services", services)
    monkeypatch.setattr("prefect_instances.libs.services.views.watching.watch", made.watch)
    monkeypatch.setattr("prefect_instances.libs.services.views.watching.scope_of", lambda *_: None)
    monkeypatch.setattr("prefect_instances.libs.services.views.reports.status", made.status)
    return made


def test_json_is_one_document_a_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    live.watch(json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == world.messages


def test_without_a_terminal_there_is_a_line_for_each_message(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    live.watch()
    assert capsys.readouterr().out.splitlines()[1] == (
        "2026-11-25T07:30:00  demo/prices.refresh  RUNNING → READY  RunSucceeded"
    )


def test_on_a_terminal_the_table_is_read_again_after_a_message(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    live.watch(timeout=1.0)
    shown = capsys.readouterr()
    assert world.reads == 2
    assert "READY" in shown.out
    assert "stopped after 1 s" in shown.err


@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_is_one_line(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    world.error = PermanentError("Centrifugo refuses the connection: invalid token")
    with pytest.raises(SystemExit) as end:
        main(["watch"])
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines() == [f"instances: {world.error}"]
