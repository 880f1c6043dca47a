"""Progress display: a live table on a terminal, one line for each change otherwise."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from prefect_instances.cli.output import console, rich_table
from prefect_instances.cli.session import utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, status_rows
from prefect_instances.libs.core.status import FlowStatus

MANY = 40
"""Number of instances from which on they are counted, and only some are listed."""

LISTED = 12
"""How many of them a terminal lists: those in error first, then those that run."""

COUNT_SECONDS = 5.0
"""Seconds between two lines that count them, where there is no terminal."""

FIRST = (FlowStatus.ERROR, FlowStatus.RUNNING)


class Progress:
    """A display that receives lines and statuses, and shows what is new.

    On a terminal it is a table on stderr that is removed at the end; with many instances, a bar and
    those that need attention. Otherwise the lines go to stdout, unless stdout is reserved for a
    JSON document: then nothing is shown. ``expected`` is how many instances there will be, if some
    do not exist yet.
    """

    def __init__(self, *, json: bool = False, expected: int = 0) -> None:
        self._expected = expected
        self._counted_at = 0.0
        self._silent = json and not sys.stderr.isatty()
        self._live: Live | None = None
        self._line = ""
        self._spinner: Spinner | None = None
        self._document: Mapping[str, Any] | None = None
        self._seen: dict[str, str] = {}

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._spinner = Spinner("dots")
            self._live = Live(
                console=console(stderr=True), transient=True, get_renderable=self._renderable
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, line: str) -> None:
        """Show what is being done now."""
        if line != self._line:
            self._print(line)
        self._line = line

    def show(self, document: Mapping[str, Any]) -> None:
        """Show the current statuses, in the shape of ``instances status --json``."""
        self._document = document
        if self._total(document) > MANY:
            self._count(document)
            return
        for entry in document["instances"]:
            self._tell(entry)

    def _tell(self, entry: Mapping[str, Any]) -> None:
        name, state = entry["name"], _state(entry)
        if self._seen.get(name) != state:
            self._print(f"{name}: {state}")
        self._seen[name] = state

    def _count(self, document: Mapping[str, Any]) -> None:
        """Tell the instances that are in error, and how many there are of each status."""
        for entry in document["instances"]:
            if entry["status"] == FlowStatus.ERROR:
                self._tell(entry)
        if time.monotonic() >= self._counted_at + COUNT_SECONDS:
            self._print(self._counts(document))
            self._counted_at = time.monotonic()

    def _counts(self, document: Mapping[str, Any]) -> str:
        counts = Counter(str(entry["status"]) for entry in document["instances"])
        ready = counts.pop(FlowStatus.READY, 0)
        others = [f"{number:,} {status}" for status, number in sorted(counts.items())]
        return ", ".join([f"{ready:,} of {self._total(document):,} READY", *others])

    def _total(self, document: Mapping[str, Any]) -> int:
        return max(self._expected, len(document["instances"]))

    def _print(self, line: str) -> None:
        if self._live is None and not self._silent:
            print(line, flush=True)

    def _renderable(self) -> RenderableType:
        if self._spinner is None:
            return ""
        self._spinner.update(text=self._line)
        if self._document is None:
            return self._spinner
        total = self._total(self._document)
        if total <= MANY:
            rows = status_rows(self._document, utc_now())
            return Group(rich_table(STATUS_HEADERS, rows), self._spinner)
        unready = [one for one in self._document["instances"] if one["status"] != FlowStatus.READY]
        listed = {"instances": sorted(unready, key=_urgency)[:LISTED]}
        ready = len(self._document["instances"]) - len(unready)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total, ready, width=40), self._counts(self._document))
        table = rich_table(STATUS_HEADERS, status_rows(listed, utc_now()))
        return Group(table, bar, self._spinner)


def _urgency(entry: Mapping[str, Any]) -> int:
    status = entry["status"]
    return FIRST.index(status) if status in FIRST else len(FIRST)


def _state(entry: Mapping[str, Any]) -> str:
    reasons = [str(flow["reason"]) for flow in entry["flows"] if flow["status"] == entry["status"]]
    return f"{entry['status']} ({reasons[0]})" if reasons else str(entry["status"])
