"""The demonstration in a running home: what it left, and that nothing is left of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.stack import REPOSITORY, Answer, Stack

DEMO = REPOSITORY / "cli" / "demo.yaml"


@dataclass(frozen=True)
class Shown:
    """What was seen when the demonstration had ended."""

    said: Answer
    """What ``demo`` said."""
    statuses: Mapping[str, str]
    joint: list[dict[str, Any]]
    """The runs of the instance at the joint."""
    api_url: str


def purge_and_see_nothing_left(stack: Stack, before: set[Path]) -> None:
    """Delete all instances of the demonstration, with data, models and reports."""
    assert "demo/return_model" in _tracked(stack.home)
    for source in ("sp500_prices", "sp500_index"):
        stack.cli("delete", source, "--cascade", "--purge", seconds=400)
    assert stack.statuses("demo") == {}
    assert "demo/return_model" not in _tracked(stack.home)
    left = list_kept_files(stack.home) - before
    others = {entry["id"] for entry in stack.instances()}
    assert {path for path in left if others.isdisjoint(path.parts)} == set(), "purging left files"


def _tracked(home: Path) -> str:
    """All that MLflow's database says."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        return "\n".join(connection.iterdump())


def list_kept_files(home: Path) -> set[Path]:
    """Data, models and reports on the disk, without the databases that index them."""
    folders = [home / name for name in ("stores", "mlflow", "evidently")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.parent not in folders}
