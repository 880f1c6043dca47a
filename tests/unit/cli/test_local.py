"""What ``demo`` starts and ends, seen without the processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_instances.cli.commands import local
from prefect_instances.cli.runtime import stack
from prefect_instances.cli.runtime.server import Server
from prefect_instances.cli.runtime.stack import Running, Say, UpRequest
from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.settings import Settings

STARTED = ("server", "worker")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """What was asked of the runtime: what ``up`` was to start, which roles were to end."""
    asked: list[object] = []

    def up(_settings: Settings, request: UpRequest, _say: Say) -> Running:
        asked.append(request)
        return Running(Server("http://127.0.0.1:9/api", embedded=True), STARTED)

    def down(_settings: Settings, _say: Say, roles: tuple[str, ...]) -> None:
        asked.append(roles)

    monkeypatch.setenv("INSTANCES_HOME", str(tmp_path))
    monkeypatch.setattr(stack, "up", up)
    monkeypatch.setattr(stack, "down", down)
    return asked


def test_demo_ends_what_it_started_last_first(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_apply_demo", list)

    local.demo(keep=False)

    assert calls == [UpRequest(), ("worker", "server")]


def test_demo_ends_what_it_started_if_it_fails(
    calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[str]:
        raise Unavailable("the Prefect server", "no answer")

    monkeypatch.setattr(local, "_apply_demo", fail)

    with pytest.raises(Unavailable):
        local.demo(keep=False)

    assert calls == [UpRequest(), ("worker", "server")]


def test_a_demo_that_is_kept_says_where_it_is(
    calls: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "_apply_demo", list)

    local.demo(keep=True)

    assert calls == [UpRequest()]
    assert "http://127.0.0.1:9 " in capsys.readouterr().out
