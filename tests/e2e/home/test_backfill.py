"""Real processes: a backfill that is killed goes on where it was, by the same command."""

from __future__ import annotations

import signal
import threading
from datetime import date, timedelta
from pathlib import Path

import psutil
import pytest

from tests.e2e.stack import Answer, Stack, expression, gated, on_postgresql
from tests.patience import eventually

pytestmark = [pytest.mark.e2e, on_postgresql]

DEPLOYMENT = {"flows": {"name": {"any_": ["backfill-instance"]}}}
WORDS = ("--start", "2022-01-01", "--end", "2022-03-31", "--downstream")


def write_quarter(folder: Path, close: float) -> None:
    """Ninety days, those of February and March at ``close``."""
    folder.mkdir(parents=True, exist_ok=True)
    days = [date(2022, 1, 1) + timedelta(days=n) for n in range(90)]
    rows = [f"{day},AAA,{close if day.month > 1 else 1.0}" for day in days]
    (folder / "data.csv").write_text("\n".join(["date,symbol,close", *rows]) + "\n")


def test_a_killed_backfill_goes_on_by_the_same_command(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    folder, source = tmp_path / "source", f"{project}/source"
    write_quarter(folder, 1.0)
    untriggered = expression("weekly", "close * 3", {"resource": "source", "triggers": False})
    derived = expression("derived", "close * 2", "source")
    instances = [gated("source", folder), derived, untriggered]
    stack.apply({"project": project, "instances": instances}, "--wait")
    write_quarter(folder, 5.0)
    (folder / "hold").touch()
    (deployment,) = stack.post("/deployments/filter", DEPLOYMENT)
    answers: list[Answer] = []
    command = threading.Thread(
        target=lambda: answers.append(stack.cli("backfill", source, *WORDS, code=None))
    )
    command.start()
    eventually(
        lambda: [run for run in stack.runs(source) if run["status"] == "running"], 60, "a piece"
    )

    psutil.Process(stack.running_pid(deployment["id"])).send_signal(signal.SIGKILL)
    command.join(120)
    (folder / "hold").unlink()

    assert answers[0].code == 1, answers
    assert f"backfill of {source} crashed" in answers[0].err
    again = stack.cli("backfill", source, *WORDS, "--json").json
    mine = [run for run in stack.runs(source) if run["cause"] == "backfill"]
    assert [run["status"] for run in mine] == ["completed"] * 3, "each piece ran once"
    found = [row["changed_from"] for row in again["backfill"]]
    assert found == [None, "2022-02-01", "2022-03-01"]
    assert "2 new versions, changed from 2022-02-01 on" in again["message"]
    assert stack.settled(project)
    assert stack.runs(f"{project}/weekly")[0]["cause"] == "backfill"
