"""The example wheel, built and installed into a folder as anybody would install it."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from make import find_uv

SOURCE = Path(__file__).parent / "example"


@cache
def installed_wheel() -> Path:
    """A folder for ``PYTHONPATH`` in which the wheel is installed; gone when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="example-definitions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    uv, built = find_uv(), folder / "wheel"
    _run([uv, "build", "--wheel", "--quiet", "--out-dir", str(built), str(SOURCE)])
    [wheel] = built.glob("*.whl")
    target = folder / "installed"
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    _run([*install, "--target", str(target), str(wheel)])
    return target


def _run(command: list[str]) -> None:
    """From what is cached here, which the project's own set-up left; else from the network."""
    offline = subprocess.run([*command, "--offline"], capture_output=True, check=False)
    if offline.returncode:
        subprocess.run(command, check=True)
