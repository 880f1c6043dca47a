"""What another home asks of this one's Prefect server, by real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stack import Stack, on_postgresql

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@on_postgresql
def test_a_second_home_on_the_same_server_is_refused(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other", more={"PREFECT_API_URL": stack.api_url})
    before = stack.post("/deployments/count", {})

    up = other.cli("up", "--detach", code=None)
    doctor = other.start(["doctor"], 60)

    assert up.code == 1
    assert "serves the database" in up.err
    assert "give each home a Prefect server of its own" in up.err
    assert doctor.returncode == 1
    assert "serves the database" in " ".join(doctor.stdout.split())
    assert other.processes() == []
    assert stack.post("/deployments/count", {}) == before
    assert stack.cli("doctor", code=None).code == 0
