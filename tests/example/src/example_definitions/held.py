"""Pipelines whose runs are held, slowed down and made to fail, for tests."""

import time
from datetime import date
from pathlib import Path

import polars as pl

from prefect_instances import DataRejected, Extract, Pipeline


class GatedSource(Pipeline):
    """Rows of a CSV file ``data.csv`` in a folder, once no file ``hold`` is in it.

    A file ``fail`` there makes the run fail with its text. Each run leaves a line in ``began``.
    """

    name = "gated"
    version = "1.0.0"

    class Config(Pipeline.Config):
        """Parameters."""

        folder: Path

    config: Config

    def extract(self, context, inputs, since: date | None) -> Extract:
        """Wait, fail or deliver, as the folder says."""
        folder = self.config.folder
        with (folder / "began").open("a") as log:
            log.write(f"{context.now.isoformat()}\n")
        while (folder / "hold").exists():
            time.sleep(0.05)
        if (folder / "fail").exists():
            raise DataRejected((folder / "fail").read_text().strip())
        frame = pl.read_csv(folder / "data.csv", try_parse_dates=True)
        return Extract(frame, complete=True)


class SlowExpression(Pipeline):
    """Doubles ``close`` (or ``value``) of its first upstream and adds the others, after a pause."""

    name = "slow_sum"
    version = "1.0.0"

    class Config(Pipeline.Config):
        """Parameters."""

        seconds: float = 0.0

    config: Config

    def extract(self, context, inputs, since: date | None) -> Extract:
        """The sum over all inputs, by date and symbol."""
        time.sleep(self.config.seconds)
        frames = [
            item.frame.select("date", "symbol", pl.col("^(close|value)$").alias("value"))
            for item in inputs
        ]
        total = pl.concat(frames).group_by("date", "symbol").agg(pl.col("value").sum()).collect()
        return Extract(total, complete=True)
