"""The pages of a run are read once it has ended, for it writes them until then."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views import run_reports


@dataclass
class Writing:
    """Prefect, with a run that writes its page and ends at its third look."""

    looks: int = 0
    pages: list[Any] = field(default_factory=list)

    def read_runs(self, ids: list[UUID]) -> dict[UUID, Any]:
        self.looks += 1
        if self.looks == 3:
            self.pages.append(SimpleNamespace(title="equity", type="markdown", data="a plot"))
        return {ids[0]: SimpleNamespace(ended=self.looks >= 3)}

    def list_artifacts(self, _run: UUID) -> list[Any]:
        return self.pages


def test_a_report_waits_for_a_run_that_still_writes_its_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_reports, "POLL_SECONDS", 0)
    prefect = Writing()

    pages, missing = run_reports._read_pages(
        cast(Services, SimpleNamespace(prefect=prefect)), uuid4()
    )

    assert "a plot" in pages["equity"]
    assert (missing, prefect.looks) == ("", 3)


def test_a_report_of_a_run_that_never_ends_has_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_reports, "END_SECONDS", 0)

    pages, missing = run_reports._read_pages(
        cast(Services, SimpleNamespace(prefect=Writing())), uuid4()
    )

    assert (pages, missing) == ({}, "")
