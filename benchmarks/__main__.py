"""``python -m benchmarks``: measure every subject, or those named; a table, JSON, the page.

It starts what it needs (databases, a Prefect server, workers) in a temporary home and ends it. A
target that is missed is shown and fails nothing; a subject that cannot be measured ends it with 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.record import Figure, Run

SUBJECTS = (
    "core",
    "sweep",
    "data",
    "desk",
    "start",
    "hop",
    "cascade",
    "flatness",
    "provisioning",
    "realtime",
)
"""In the order of a run: what needs no server first."""
PEERS = ("airflow", "dagster")
ON_REQUEST = ("peers", "scale")
"""Measured only if ``--only`` names them: they install other software, or take long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where everything was measured, 1 where not, 2 for wrong usage."""
    # The worker starts without the current directory on its path, and runs `benchmarks.empty`.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    options = _parser().parse_args(arguments)
    _leave_other_servers()
    from benchmarks.report import document, show, write_docs

    figures, failed = _measure(options.only or SUBJECTS, _sizes(options))
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(document(figures, quick=options.quick), indent=2) + "\n")
    if options.write_docs and not failed:
        write_docs(figures)
    for name in failed:
        print(f"benchmarks: {name} could not be measured", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, within 2 minutes")
    known = (*SUBJECTS, *ON_REQUEST)
    parser.add_argument("--only", action="append", choices=known, help="may be repeated")
    peers = parser.add_argument_group("peers")
    peers.add_argument("--rounds", type=int, default=3, help="turns of each system (3)")
    peers.add_argument(
        "--peer", action="append", choices=PEERS, help="one of them; may be repeated"
    )
    peers.add_argument("--width", type=int, action="append", help="a fan-out (50 and 200)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the figures into docs/performance.md"
    )
    return parser


def _leave_other_servers() -> None:
    """Before Prefect is imported: a benchmark must not reach a server that somebody uses."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "INSTANCES_"))]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"


def _sizes(options: argparse.Namespace) -> dict[str, Any]:
    """What a run is to be, as fields of ``Run``."""
    peers = tuple(options.peer or ())
    if options.quick:
        return {"quick": True, "rounds": 1, "widths": tuple(options.width or (5,)), "peers": peers}
    widths = tuple(options.width or (50, 200))
    return {"quick": False, "rounds": options.rounds, "widths": widths, "peers": peers}


def _measure(names: Sequence[str], sizes: dict[str, Any]) -> tuple[list[Figure], list[str]]:
    from benchmarks.live import Live
    from benchmarks.record import Run

    figures, failed, live = [], [], Live()
    os.environ["PREFECT_HOME"] = str(live.home / "client")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        run = Run(scratch=Path(scratch), live=live, **sizes)
        try:
            for name in names:
                begin = time.perf_counter()
                print(f"{name} …", file=sys.stderr, flush=True)
                try:
                    figures += _subject(name, run)
                except Exception:  # noqa: BLE001  # told, and the exit code says so
                    traceback.print_exc()
                    failed.append(name)
                print(f"  {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        finally:
            live.close()
    return figures, failed


def _subject(name: str, run: Run) -> list[Figure]:
    measured: Iterator[Figure] = importlib.import_module(f"benchmarks.subjects.{name}").measure(run)
    found = list(measured)
    if not found:
        raise RuntimeError(f"{name} has measured nothing")
    return found


if __name__ == "__main__":
    sys.exit(main())
