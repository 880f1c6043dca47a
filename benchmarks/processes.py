"""CPU seconds and memory of processes, without what ends meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil


def sum_cpu(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds, those of children that have ended included."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def sum_pss(processes: Iterable[psutil.Process]) -> float:
    """Bytes of memory; a page that n processes share counts as 1/n in each (PSS)."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total
