"""Materialize the root assets that standard input names, one a line, as a person does.

It answers ``done`` on standard output when a line is done.
"""

from __future__ import annotations

import sys

import dagster as dg
from dagster_assets import assets


def main() -> None:
    """Serve until standard input ends."""
    with dg.DagsterInstance.get() as instance:
        print("ready", flush=True)
        for line in sys.stdin:
            dg.materialize([assets[line.strip()]], instance=instance)
            print("done", flush=True)


if __name__ == "__main__":
    main()
