"""The tests of a file in another order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
NAMES = [f"test_{at}" for at in range(9)]
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Without the plugins of others, whose imports take most of the time."""


def ran(folder: Path, seed: str) -> list[str]:
    """The tests of two files in the order in which they ran."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "tests.shuffled", "test_a.py", "test_b.py"],
        cwd=folder,
        env={**os.environ, "TEST_ORDER": seed, "PYTHONPATH": str(REPOSITORY), **ALONE},
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r"^(test_\w\.py::\w+) PASSED", done.stdout, re.MULTILINE)


def test_each_number_is_an_order_within_the_files(tmp_path: Path) -> None:
    for file in ("test_a.py", "test_b.py"):
        text = "\n".join(f"def {name}(): pass" for name in NAMES)
        (tmp_path / file).write_text(text)
    written = [f"{file}::{name}" for file in ("test_a.py", "test_b.py") for name in NAMES]

    one, again, other, none = (ran(tmp_path, seed) for seed in ("1", "1", "2", ""))

    assert none == written
    assert one == again != other
    assert sorted(one) == sorted(other) == written
    assert all(test.startswith("test_a.py") for test in one[:9])
    assert written not in (one, other)
