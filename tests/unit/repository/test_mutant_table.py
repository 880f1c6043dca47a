"""What ``python -m tests.mutants`` says of its table, and the sums of ``--costs``."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from io import StringIO
from types import SimpleNamespace

import pytest

from tests.costs import Costs, count_machine
from tests.mutants.driver import ROOT, Fault, problems_of
from tests.mutants.rooms import ROOMS
from tests.mutants.table import FAULTS


def test_no_two_faults_are_the_same() -> None:
    made = Counter((fault.file, apply(fault)) for fault in (*FAULTS, *ROOMS))
    assert [file for (file, _), times in made.items() if times > 1] == []


def apply(fault: Fault) -> str:
    return (ROOT / fault.file).read_text().replace(fault.old, fault.new)


def test_every_fault_fits_the_code() -> None:
    assert problems_of((*FAULTS, *ROOMS)) == []


def test_a_fault_that_fits_no_longer_says_why() -> None:
    gone = Fault("libs/settings.py", "not there", "", ("tests/unit/gone.py",))

    assert problems_of((gone,)) == [
        "libs/settings.py: not there -> : the old text stands 0 times in the file",
        "libs/settings.py: not there -> : tests/unit/gone.py does not exist",
    ]


def test_the_costs_of_a_file_on_two_workers_are_added(request: pytest.FixtureRequest) -> None:
    costs, written = Costs(request.config), StringIO()
    for seconds in (1.5, 2.0):
        costs.pytest_testnodedown(SimpleNamespace(workeroutput={"costs": {"test_a.py": seconds}}))
    costs.pytest_terminal_summary(pytest.TerminalReporter(request.config, written))

    assert written.getvalue().split() == ["3.5", "s", "CPU", "test_a.py"]


def test_a_process_that_is_alone_counts_what_others_do() -> None:
    machine, children = count_machine(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)

    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
    assert count_machine() - machine > spent / 2 > 0
