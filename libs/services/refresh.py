"""The procedure of datasets and signals: extract, merge with what is stored, check the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from libs.core.status import Mode
from libs.definitions.content import check_frame, check_signal, later_rows, merge
from libs.definitions.pipeline import ExtractContext, Input
from libs.services.data import Data, open_data
from libs.services.execution import Added, Frame, Job, Result
from libs.specs import DatasetSpec, SignalContract

if TYPE_CHECKING:
    import polars as pl


def refresh(job: Job) -> Result:
    """The whole dataset as it will be after this run, or only what it adds to it."""
    assert isinstance(job.spec, DatasetSpec)
    then = job.spec if job.rehearsal else None
    data = open_data(job.services, job.instance.id, then)
    output = _output(job, data)
    frame = output.later if isinstance(output, Added) else output.rows
    if data.signal is not None and (frame.height or isinstance(output, Frame)):
        check_frame(frame)
        _check_signal(frame, data.signal)
    return Result(output, frequency=data.pipeline.data_frequency)


def _check_signal(frame: pl.DataFrame, signal: SignalContract) -> None:
    check_signal(
        frame,
        min_value=signal.min_value,
        max_value=signal.max_value,
        allow_nan=signal.allow_nan,
        index_columns=signal.index_columns,
    )


def _output(job: Job, data: Data) -> Frame | Added:
    parameters = job.run.parameters
    stored = _stored(job, data)
    newest = since = job.flow.last_data_date if stored is not None else None
    context = ExtractContext(data.name, job.run.started_at, parameters.as_of, parameters.mode)
    inputs = [Input(item.resource, item.role, item.frame) for item in job.inputs]
    extract = data.pipeline.extract(context, inputs, since)
    if stored is None:
        return Frame(merge(None, extract, since), data.store)
    later = (
        None if job.rehearsal or parameters.force else later_rows(stored, extract, since, newest)
    )
    if later is not None:
        return Added(later, data.store)
    return Frame(merge(stored.collect(), extract, since), data.store)


def _stored(job: Job, data: Data) -> pl.LazyFrame | None:
    """What an incremental run adds to; None where everything is read anew.

    That is the case for the first run, for mode full, after a change of the configuration, and
    when the data are asked for as of a day before the newest that is stored.
    """
    flow, run = job.flow, job.run
    newest, as_of = flow.last_data_date, run.parameters.as_of
    if job.current is None or run.parameters.mode is Mode.FULL or newest is None:
        return None
    if flow.consumed_config_version != run.config_version or (as_of and as_of < newest):
        return None
    return data.store.scan(job.current.location)
