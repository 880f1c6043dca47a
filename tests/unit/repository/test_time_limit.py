"""A session with a time limit: what would begin too late is left out, and the summary says so."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.time_limit import TimeLimit

REPOSITORY = Path(__file__).parents[3]


def test_a_test_begins_while_there_is_time_and_not_after() -> None:
    TimeLimit("40", until=time.time() + 3600).pytest_runtest_setup()
    with pytest.raises(pytest.skip.Exception, match="TEST_MINUTES=40 are over"):
        TimeLimit("40", until=time.time() - 1).pytest_runtest_setup()


def test_the_summary_names_the_files_of_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text("def test_one(): pass\n\ndef test_two(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.time_limit", "test_two.py"],
        cwd=tmp_path,
        env={**os.environ, "TEST_MINUTES": "0", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    told = "left out because TEST_MINUTES=0 are over: 2 tests: test_two.py (2)"
    assert told in done.stdout.splitlines()
