"""Each patch of Prefect fits the version that is locked, and one that does not fit is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from uuid import uuid4

import prefect
import pytest
from prefect import flow_engine
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import FlowRunContext
from prefect.flow_engine import FlowRunEngine
from prefect.flows import flow

from prefect_instances.libs.adapters.prefect.patches import (
    NAMES,
    RUN_PATCHES,
    SERVER_PATCHES,
    TRIED,
    Patch,
    apply_patches,
)
from prefect_instances.libs.adapters.warm_worker.forkserver import (
    HEARTBEAT_VARIABLE,
    disable_heartbeats,
)

# The server's application takes seconds to import.
OF_A_SERVER = [pytest.param(patch, marks=pytest.mark.server) for patch in SERVER_PATCHES]
PATCHES = [*OF_A_SERVER, *RUN_PATCHES]


def target(first: int, second: int) -> None:
    """Stand for a callable of Prefect."""


def patch_of(change: Callable[[], None]) -> Patch:
    return Patch("a test", "none", lambda: target, ("first", "second"), change)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_the_target_of_a_patch_has_the_signature_it_was_written_for(patch: Patch) -> None:
    assert patch.misfit() == ""


def test_the_installed_minor_version_of_prefect_was_tried_with_the_patches() -> None:
    """Fails on a new minor version: try each patch with it, then add it to ``TRIED``."""
    assert ".".join(prefect.__version__.split(".")[:2]) in TRIED


def test_a_patch_that_fits_is_applied() -> None:
    done: list[str] = []
    assert apply_patches([patch_of(lambda: done.append("it"))]) == ["a test"]
    assert done == ["it"]


def missing() -> Callable[..., object]:
    raise AttributeError("Prefect has no such name")


@pytest.mark.parametrize(
    "change",
    [{"versions": ("3.8",)}, {"parameters": ("first",)}, {"target": missing}],
    ids=["an untried version", "another signature", "no target"],
)
def test_a_patch_that_does_not_fit_is_left_out_and_logged(
    change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    misfit: Patch = replace(patch_of(lambda: done.append("misfit")), **change)  # type: ignore[arg-type]  # each has the type of its field
    after = patch_of(lambda: done.append("after"))
    assert apply_patches([misfit, after]) == ["a test"]
    assert done == ["after"]
    assert "is not patched for 'a test'" in caplog.text


def test_a_run_that_has_its_name_already_does_not_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    resolve = flow_engine.resolve_custom_flow_run_name  # type: ignore[attr-defined]  # not exported
    monkeypatch.setattr(flow_engine, "resolve_custom_flow_run_name", resolve)
    monkeypatch.setattr(
        SyncPrefectClient, "set_flow_run_name", lambda _, flow_run_id, name: sent.append(name)
    )
    NAMES.change()
    named = flow(target, name="named").with_options(flow_run_name="prices refresh")

    for current in ("prices refresh", "spry-jackal"):
        run = SimpleNamespace(id=uuid4(), name=current)
        with FlowRunContext.model_construct(flow_run=run):
            name = flow_engine.resolve_custom_flow_run_name(flow=named, parameters={})  # type: ignore[attr-defined]  # not exported
        SyncPrefectClient.set_flow_run_name(None, run.id, name)  # type: ignore[arg-type]  # not used

    assert sent == ["prices refresh"]


def test_a_run_has_no_heartbeats_unless_the_environment_asks_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(HEARTBEAT_VARIABLE, raising=False)
    engine = FlowRunEngine(flow=flow(target))
    usual = engine.heartbeat_seconds
    with disable_heartbeats():
        assert engine.heartbeat_seconds is None
    monkeypatch.setenv(HEARTBEAT_VARIABLE, "60")
    with disable_heartbeats():
        assert engine.heartbeat_seconds == usual
