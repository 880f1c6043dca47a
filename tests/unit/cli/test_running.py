"""Running a flow from Python: what is refused before anything starts."""

from __future__ import annotations

from uuid import uuid4

import pytest

import prefect_instances
from prefect_instances.cli.running import StartedRun
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import InvalidSpec, Unavailable


def test_all_wrong_arguments_are_told_at_once() -> None:
    with pytest.raises(InvalidSpec) as caught:
        prefect_instances.run("prices", mode="fast", as_of="tomorrow")  # type: ignore[arg-type]
    assert [problem.path for problem in caught.value.problems] == ["as_of", "mode"]


def test_a_day_that_has_not_begun_is_refused() -> None:
    with pytest.raises(InvalidSpec) as caught:
        prefect_instances.run("prices", as_of="2199-01-01")
    assert "future" in str(caught.value)


def test_a_started_run_says_what_became_of_it() -> None:
    assert "started, http://x" in repr(StartedRun("p/a", uuid4(), "http://x"))
    assert repr(StartedRun("p/a", uuid4(), "u", ())) == "p/a: all that it changes is READY"
    assert repr(StartedRun("p/a", uuid4(), "u", ("b is STALE",))) == "b is STALE"


def test_a_gateway_that_is_not_used_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "prefect_instances.libs.adapters.prefect.gateway.read_configured_api_url", lambda: None
    )
    with PrefectGateway.connect_later() as gateway, pytest.raises(Unavailable, match="no server"):
        _ = gateway.api_url
