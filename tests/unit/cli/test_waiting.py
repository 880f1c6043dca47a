"""Waiting: until all is READY, until nothing moves, or until the time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

import pytest

from prefect_instances.cli import waiting
from prefect_instances.cli.errors import FlowFailed
from prefect_instances.cli.progress import Progress
from prefect_instances.cli.waiting import (
    Patience,
    TookTooLong,
    plain_message,
    wait_for_run,
    wait_until_settled,
)
from prefect_instances.libs.adapters.prefect import RunState, RunView
from prefect_instances.libs.services.state.context import Services


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)


def document(**statuses: str) -> dict[str, Any]:
    def flow(status: str) -> dict[str, Any]:
        return {"status": status, "reason": "X", "message": f"is {status}", "blocked_by": []}

    return {
        "instances": [
            {
                "name": name,
                "project": "demo",
                "lifecycle": "ACTIVE",
                "status": status,
                "flows": [flow(status)],
            }
            for name, status in statuses.items()
        ]
    }


def successive(*documents: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
    """Reads one document after the other, the last one for ever."""
    rest: Iterator[Mapping[str, Any]] = iter(documents)

    def read() -> Mapping[str, Any]:
        return next(rest, documents[-1])

    return read


def never(_: Sequence[str]) -> bool:
    return False


def always(_: Sequence[str]) -> bool:
    return True


def test_it_ends_when_all_is_ready() -> None:
    statuses = successive(
        document(a="RUNNING", b="NOT_INITIALIZED"), document(a="READY", b="READY")
    )

    assert wait_until_settled(statuses, never, Progress(json=True), Patience.of(0)) == []


def test_it_names_what_is_not_ready_when_nothing_moves_any_more() -> None:
    statuses = successive(document(a="READY", b="ERROR"))

    missing = wait_until_settled(statuses, always, Progress(json=True), Patience.of(0))

    assert missing == ["b is ERROR: is ERROR"]


def test_what_became_ready_as_it_settled_is_not_named() -> None:
    statuses = successive(document(a="RUNNING"), document(a="READY"))

    assert wait_until_settled(statuses, always, Progress(json=True), Patience.of(0)) == []


def test_only_what_is_not_ready_is_asked_whether_it_moves() -> None:
    asked: list[Sequence[str]] = []

    def settled(names: Sequence[str]) -> bool:
        asked.append(names)
        return True

    wait_until_settled(
        successive(document(a="READY", b="STALE")), settled, Progress(json=True), Patience.of(0)
    )

    assert asked == [["demo/b"]]


def test_it_gives_up_when_the_time_is_over() -> None:
    with pytest.raises(TookTooLong) as raised:
        wait_until_settled(
            successive(document(a="RUNNING")), never, Progress(json=True), Patience.of(1e-9)
        )

    assert raised.value.seconds == 1e-9


def test_changes_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    statuses = successive(document(a="RUNNING"), document(a="RUNNING"), document(a="READY"))

    with Progress() as progress:
        wait_until_settled(statuses, never, progress, Patience.of(0))

    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("a:")]
    assert told == ["a: RUNNING (X)", "a: READY (X)"]


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        (
            "Flow run encountered an exception: NotFound: no instance named 'x'",
            "no instance named 'x'",
        ),
        ("Flow run encountered an exception: a.b.Error: text: more", "text: more"),
        ("the data was wrong: 3 rows", "the data was wrong: 3 rows"),
        ("", ""),
    ],
)
def test_a_failure_is_told_without_prefects_preface(message: str, plain: str) -> None:
    assert plain_message(message) == plain


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CRASHED, RunState.CANCELLED])
def test_a_run_that_has_ended_in_another_state_is_an_error(state: RunState) -> None:
    with pytest.raises(FlowFailed, match=f"the run {state.value.lower()}: no data"):
        waited_for(state)


def test_a_run_that_has_completed_is_returned() -> None:
    assert waited_for(RunState.COMPLETED).state is RunState.COMPLETED


def waited_for(state: RunState) -> RunView:
    """What waiting says of a run that was over before: nothing is asked for then."""
    when: Any = None
    run = RunView(
        uuid4(), "run", state, "Late", "ValueError: no data", None, {}, (), False, when, when, when
    )
    services = cast("Services", None)
    return wait_for_run(services, run, "the run", Progress(json=True), Patience.of(0))
