"""``python -m tests.faults``: rounds of faults in one sitting, a line for each, then a summary."""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.rounds import Harness, Round
from tests.faults.world import new_world


def main() -> int:
    """Run the rounds; return 1 if something did not hold in any of them."""
    asked = _arguments()
    kept = Path(asked.keep or tempfile.mkdtemp(prefix="faults-kept-"))
    until = time.monotonic() + asked.minutes * 60 if asked.minutes else None
    print(f"seed {asked.seed}, {asked.database}; logs of failed rounds: {kept}", flush=True)
    played: list[Round] = []
    with new_world(asked.database) as world:
        harness = Harness(world, asked.seed, kept)
        harness.build()
        for number in range(asked.rounds + 1):
            if until is not None and time.monotonic() > until:
                break
            played.append(harness.play(number))
            print(played[-1], flush=True)
    print(summarise(played))
    return int(any(one.faults for one in played))


def summarise(played: Sequence[Round]) -> str:
    """Tell the rounds, the failed ones, and the seconds from the request to rest."""
    struck = sorted(one.seconds for one in played if one.struck)
    if not struck:
        return "no round with faults"
    failed = [one.number for one in played if one.faults]
    p95 = struck[min(len(struck) - 1, int(len(struck) * 0.95))]
    return (
        f"{len(struck)} rounds with faults, {len(failed)} failed {failed or ''}; seconds to heal: "
        f"median {statistics.median(struck):.1f}, p95 {p95:.1f}, max {struck[-1]:.1f}; "
        f"without a fault {played[0].seconds:.1f}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--minutes", type=float, default=0, help="stop after; 0: no limit")
    parser.add_argument("--keep", default="", help="folder for the logs of failed rounds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
