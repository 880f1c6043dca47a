"""``python -m tests.mutants [WORD]``: the faults whose title or tests contain the word, or all."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.mutants.driver import (
    CAUGHT,
    Copy,
    import_libraries,
    judge,
    problems_of,
    run_apart,
    scratch_copy,
)
from tests.mutants.rooms import ROOMS
from tests.mutants.table import FAULTS


def main(word: str = "") -> int:
    """Print one line for each fault and the counts; 1 if one is not caught, 2 if none can run.

    What does not fit the tree any more is listed first and counts as not caught.
    """
    every = (*FAULTS, *ROOMS)
    asked = [fault for fault in every if word in f"{fault.title} {' '.join(fault.tests)}"]
    chosen = [fault for fault in asked if not problems_of((fault,))]
    print("".join(f"{problem}\n" for problem in problems_of(tuple(asked))), end="")
    import_libraries()
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as home, scratch_copy(Path(home) / "tree") as root:
        copy = Copy(root)
        # Whole files, whatever of them a fault chooses.
        tests = tuple(sorted({word for fault in chosen for word in fault.tests if "/" in word}))
        if run_apart(root, tests, patience=None):
            print("The tests fail without any fault; nothing can be said.")
            return 2
        for fault in chosen:
            verdict = judge(copy, fault)
            counts[verdict] += 1
            print(f"{verdict:10}  {fault.title}", flush=True)
    print(", ".join(f"{verdict} {count}" for verdict, count in counts.items()))
    return 0 if counts[CAUGHT] == len(asked) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
