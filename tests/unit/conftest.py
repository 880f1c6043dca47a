"""What tests of single modules share."""

from __future__ import annotations

import pytest


@pytest.fixture
def retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are sent again as often as always, but without the pauses of one to two seconds."""
    for kind in ("_sync", "_async"):
        monkeypatch.setattr(f"httpcore.{kind}.connection.RETRIES_BACKOFF_FACTOR", 0.0)
    monkeypatch.setattr("prefect.client.base.clamped_poisson_interval", lambda *_: 0.0)
