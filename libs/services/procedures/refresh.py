"""The procedure of datasets and signals: extract, merge with the stored rows, check."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.definitions.content import (
    check_frame,
    check_signal,
    conform,
    fill_missing,
    find_later_rows,
    merge,
)
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.schemas import misfits
from prefect_instances.libs.definitions.widening import widen
from prefect_instances.libs.quant.prices import count_unusable, price_fields
from prefect_instances.libs.services.composition.components import Storage
from prefect_instances.libs.services.procedures.promoted import read_promoted
from prefect_instances.libs.services.procedures.tear_sheets import make_page
from prefect_instances.libs.services.runs.run_context import (
    Appended,
    Frame,
    Job,
    Result,
    inputs_changed_from,
)
from prefect_instances.libs.specs import DatasetSpec, SignalContract, SignalSpec


def refresh(job: Job) -> Result:
    """Read new data and return the whole dataset after this run, or only the rows to append.

    Prices of these rows that are not usable are counted. Raises DataRejected if the rows break the
    signal contract or lack columns.
    """
    assert isinstance(job.spec, DatasetSpec)
    pipeline, storage = _parts(job)
    output = _output(job, pipeline, storage)
    frame = output.later if isinstance(output, Appended) else output.rows
    _check_needs(storage.needs, "what the pipeline delivers", frame.schema)
    if isinstance(job.spec, SignalSpec) and (frame.height or isinstance(output, Frame)):
        check_frame(frame)
        # What is only compared is not judged: an audit has restated values in it.
        if not job.replay:
            _check_signal(frame, job.spec.signal)
    pages = _pages(job, storage, output)
    counts = _count_prices(frame)
    return Result(output, counts, pages, frequency=pipeline.data_frequency)


def _pages(job: Job, storage: Storage, output: Frame | Appended) -> list[Page]:
    """Make the tear sheet of a signal that asks for one, over all its rows."""
    if not isinstance(job.spec, SignalSpec) or not job.spec.tear_sheet or job.replay:
        return []
    if isinstance(output, Frame):
        return [make_page(job, output.rows)]
    assert job.current is not None
    stored = storage.store.scan(job.current.location).collect()
    return [make_page(job, pl.concat([stored, output.later.select(stored.columns)]))]


def _count_prices(frame: pl.DataFrame) -> dict[str, int]:
    """Count the prices that are missing, and those that are infinite, zero or negative, if any."""
    columns = [name for name in price_fields(frame.columns) if frame.schema[name].is_numeric()]
    counts = count_unusable(frame.lazy(), columns)[1].values() if columns else ()
    missing = sum(found.get("missing", 0) for found in counts)
    whole = sum(sum(found.values()) for found in counts)
    told = {"missing_prices": missing, "unusable_prices": whole - missing}
    return {name: count for name, count in told.items() if count}


def _parts(job: Job) -> tuple[Pipeline, Storage]:
    pipeline, storage = job.opened.main, job.opened.storage
    assert isinstance(pipeline, Pipeline)
    assert storage is not None
    return pipeline, storage


def _check_needs(
    needs: Mapping[str, Mapping[str, str]], label: str, schema: Mapping[str, object]
) -> None:
    """Raise DataRejected if a frame, called ``label``, lacks columns that are needed."""
    columns = {name: str(dtype) for name, dtype in schema.items()}
    found = [
        f"{who} {misfit}" for who, needed in needs.items() for misfit in misfits(needed, columns)
    ]
    if found:
        text = f"{'; '.join(found)}: {label} has {', '.join(columns)}"
        raise DataRejected(text, {"problems": found, "columns": columns})


def _check_signal(frame: pl.DataFrame, signal: SignalContract) -> None:
    check_signal(
        frame,
        min_value=signal.min_value,
        max_value=signal.max_value,
        allow_nan=signal.allow_nan,
        index_columns=signal.index_columns,
    )


def _output(job: Job, pipeline: Pipeline, storage: Storage) -> Frame | Appended:
    parameters = job.run.parameters
    copied = read_promoted(job)
    if copied is not None:
        return Frame(_without_gaps(job, copied), storage.store)
    stored = _stored(job, storage)
    newest = job.flow.last_data_date if stored is not None else None
    since, until = _dates(job, newest)
    if storage.accessor.answers_knowledge_time and until is None:
        # What became known since may be about any date.
        since = None
    as_of = min((day for day in (parameters.as_of, until) if day), default=None)
    executor, started = job.opened.executor, job.run.started_at
    context = ExtractContext(
        job.instance.name, started, as_of, parameters.mode, executor, job.external_jobs
    )
    inputs = _inputs(job, pipeline)
    extract = pipeline.extract(context, inputs, since)
    extract = Extract(_without_gaps(job, extract.frame), extract.complete)
    is_whole = extract.complete or stored is None
    if is_whole and job.current is not None and not job.is_reconfigured:
        schema = storage.store.scan(job.current.location).collect_schema()
        extract = Extract(widen(conform(extract.frame), schema), extract.complete)
    if stored is None:
        return Frame(merge(None, extract, since, until), storage.store)
    later = None
    if not (job.replay or parameters.force):
        later = find_later_rows(stored, extract, since, newest, until)
    if later is not None:
        return Appended(later, storage.store)
    return Frame(merge(stored.collect(), extract, since, until), storage.store)


def _without_gaps(job: Job, frame: pl.DataFrame) -> pl.DataFrame:
    """Replace missing values of a signal by its neutral value, if it has one."""
    contract = job.spec.signal if isinstance(job.spec, SignalSpec) else None
    if contract is None or contract.neutral_value is None:
        return frame
    return fill_missing(frame, contract.neutral_value, contract.index_columns)


def _inputs(job: Job, pipeline: Pipeline) -> list[Input]:
    """What the pipeline reads; DataRejected where it has not the columns that it needs."""
    inputs = [item.as_input() for item in job.inputs]
    if pipeline.input_schema:
        needs = {f"pipeline {pipeline.name!r}": pipeline.input_schema}
        for item in inputs:
            _check_needs(needs, item.resource, item.frame.collect_schema())
    return inputs


def _stored(job: Job, storage: Storage) -> pl.LazyFrame | None:
    """What an incremental run adds to; None where everything is read anew.

    Everything is read again in the first run, in mode full, if a loss is accepted, after a change
    of the configuration, if any date of an input may have changed, and if the run is as of a day
    before the newest stored one.
    """
    flow, run = job.flow, job.run
    newest, as_of = flow.last_data_date, run.parameters.as_of
    if job.current is None or run.parameters.mode is Mode.FULL or newest is None:
        return None
    if run.parameters.accept_loss or job.is_reconfigured or (as_of and as_of < newest):
        return None
    if inputs_changed_from(job.inputs) == date.min:
        return None
    return storage.store.scan(job.current.location)


def _dates(job: Job, newest: date | None) -> tuple[date | None, date | None]:
    """Return the first and the last date to read from the source; None: no limit on that side.

    ``newest`` is the last stored date, None if everything is read again. A run for a range of dates
    reads only that range, unless stored dates do not reach it or inputs changed outside of it.
    """
    asked = job.run.parameters
    if newest is None:
        first = job.current is None
        return (asked.start, asked.end) if first else (None, None)
    changed = inputs_changed_from(job.inputs)
    since = min(day for day in (asked.start, changed, newest) if day)
    return since, asked.end if changed is None else None
