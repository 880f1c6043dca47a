"""A pipeline whose work is done by a job server, and the server as the runs see it."""

from collections.abc import Mapping, Sequence
from datetime import date

import httpx
import polars as pl
from pydantic import Field

from prefect_instances import (
    ExternalSystem,
    Extract,
    ExtractContext,
    Input,
    JobState,
    Pipeline,
)


class JobServer(ExternalSystem):
    """A server that runs jobs: PUT starts one, GET tells its state, DELETE ends it."""

    def __init__(self, url: str) -> None:
        self.jobs = f"{url}/jobs"

    def submit(self, work: Mapping[str, object], token: str) -> str:
        """Put the work under the token: the same token gives the same job."""
        answer = httpx.put(f"{self.jobs}/{token}", json=work)
        return str(answer.raise_for_status().json()["id"])

    def look(self, job_id: str) -> JobState:
        """The state as the server calls it."""
        answer = httpx.get(f"{self.jobs}/{job_id}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return JobState.UNKNOWN
        return JobState(answer.raise_for_status().json()["state"])

    def cancel(self, job_id: str) -> None:
        """End it; one that is gone already is no error."""
        httpx.delete(f"{self.jobs}/{job_id}")

    def rows(self, job_id: str) -> pl.DataFrame:
        """What the job has computed."""
        answer = httpx.get(f"{self.jobs}/{job_id}/rows").raise_for_status()
        return pl.DataFrame(answer.json()).with_columns(pl.col("date").str.to_date())


class RemoteWalk(Pipeline):
    """Closes that a job server computes."""

    name, version = "remote_walk", "1.0.0"

    class Config(Pipeline.Config):
        """Parameters."""

        url: str = Field(description="Address of the job server.")
        symbols: list[str] = Field(min_length=1, description="What the series are called.")

    config: Config

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        """Submit the job, or continue with the one that an earlier attempt submitted."""
        server = JobServer(self.config.url)
        work = {"symbols": self.config.symbols}
        job = context.jobs.run("walk", server, work, poll_seconds=0.1)
        return Extract(server.rows(job), complete=True)
