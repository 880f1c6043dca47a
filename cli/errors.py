"""Errors of the command line itself."""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.core.errors import PermanentError, TemporaryError


class FlowFailed(PermanentError):
    """A flow that the command started failed: read the message; Prefect shows the whole run."""

    def __init__(self, flow: str, run_id: UUID, state: str, message: str) -> None:
        self.flow, self.run_id, self.state = flow, run_id, state
        super().__init__(f"{flow} {state}: {message or f'see flow run {run_id}'}")


class TookTooLong(TemporaryError):
    """The time limit is over, but the work continues: check later with ``instances status``."""

    def __init__(self, what: str, seconds: float) -> None:
        self.what, self.seconds = what, seconds
        super().__init__(
            f"{what} has not ended after {seconds:.0f} s; it continues without this command"
        )
