"""How a flow run ends in Prefect where it did no work."""

from __future__ import annotations

from prefect.logging import disable_run_logger

from prefect_instances.flows.reporting import end_already_failed
from prefect_instances.libs.core.commands import AskedAgain


def test_the_retry_of_a_run_that_failed_stays_failed_and_says_why() -> None:
    with disable_run_logger():
        state = end_already_failed(AskedAgain("the run has failed; a new run does the work"))

    assert state.is_failed()
    assert state.message == "the run has failed; a new run does the work"
