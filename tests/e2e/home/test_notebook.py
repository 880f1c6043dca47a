"""The example notebook runs from nothing to a tear sheet, in a running home."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.e2e.stack import BIN, REPOSITORY, Stack

pytestmark = pytest.mark.e2e

NOTEBOOK = REPOSITORY / "examples" / "research.ipynb"


def test_the_notebook_runs_from_a_manifest_to_a_tear_sheet(stack: Stack, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    environment = {**stack.environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )

    client.execute(env=environment)

    shown = {_source(cell): _html(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert shown['pi.status(project="notebook")'].count(">READY<") == 4
    assert shown['pi.lineage("notebook/prices")'].count("<rect ") == 4
    assert "20 rows added, 0 removed, 0 changed" in shown['pi.compare("notebook/prices", 1, 2)']
    assert shown['pi.runs("notebook/portfolio")'].count(">completed<") == 2
    report = next(html for cell, html in shown.items() if "pi.report" in cell)
    assert "max drawdown" in report
    assert report.count("data:image/png;base64,") == 2
    last = notebook.cells[-1]
    assert last.metadata.tags == ["tear-sheet"]
    sheet = last.outputs[0].data["text/markdown"]
    assert "20 assets" in sheet
    assert "rank IC" in sheet
    assert sheet.count("data:image/png;base64,") == 2
    assert stack.settled("notebook")
    stack.cli("delete", "notebook/prices", "--cascade", "--purge")


def _source(cell: Any) -> str:
    return str(cell.source).strip()


def _html(cell: Any) -> str:
    """What a notebook shows of a cell, as HTML."""
    return "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
