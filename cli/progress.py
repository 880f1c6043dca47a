"""Progress display: a live table on a terminal, one line for each change otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner

from prefect_instances.cli.output import console, rich_table
from prefect_instances.cli.session import utc_now
from prefect_instances.cli.tables import STATUS_HEADERS, status_rows


class Progress:
    """A display that receives lines and statuses, and shows what is new.

    On a terminal it is a table on stderr that is removed at the end. Otherwise the lines go to
    stdout, unless stdout is reserved for a JSON document: then nothing is shown.
    """

    def __init__(self, *, json: bool = False) -> None:
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
        for entry in document["instances"]:
            name, state = entry["name"], _state(entry)
            if self._seen.get(name) != state:
                self._print(f"{name}: {state}")
            self._seen[name] = state

    def _print(self, line: str) -> None:
        if self._live is None and not self._silent:
            print(line, flush=True)

    def _renderable(self) -> RenderableType:
        if self._spinner is None:
            return ""
        self._spinner.update(text=self._line)
        if self._document is None:
            return self._spinner
        table = rich_table(STATUS_HEADERS, status_rows(self._document, utc_now()))
        return Group(table, self._spinner)


def _state(entry: Mapping[str, Any]) -> str:
    reasons = [str(flow["reason"]) for flow in entry["flows"] if flow["status"] == entry["status"]]
    return f"{entry['status']} ({reasons[0]})" if reasons else str(entry["status"])
