"""Pipelines: they read or compute the data of a dataset or a signal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.definitions.base import Definition, DefinitionKind, UpstreamShape
from prefect_instances.libs.definitions.external_job import ExternalJobs, UnrecordedJobs

if TYPE_CHECKING:
    import polars as pl

    from prefect_instances.libs.definitions.executor import Executor


@dataclass(frozen=True, slots=True)
class ExtractContext:
    """The instance that a pipeline runs for, and the time of the run.

    ``instance`` is the instance's name, ``now`` an aware time to use as the present, ``as_of`` the
    newest date of data that may be delivered (``None``: no limit). ``executor`` runs the parts of a
    pipeline that can be divided; ``None``: the process of the run does. ``jobs`` hands work to
    systems outside.
    """

    instance: str
    now: datetime
    as_of: date | None = None
    mode: Mode = Mode.INCREMENTAL
    executor: Executor | None = None
    jobs: ExternalJobs = field(default_factory=UnrecordedJobs)

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("ExtractContext.now must be an aware time")


@dataclass(frozen=True, slots=True)
class Input:
    """One upstream at the version pinned for this run.

    ``frame`` holds the rows that the upstream's accessor returns: (date x symbol) long, one column
    for each field. It always shows the pinned version, even if the upstream publishes a newer one.
    For an upstream that is read point-in-time, each date is as it was known at its end.
    """

    resource: str
    role: str
    frame: pl.LazyFrame
    as_known: Callable[[pl.Series], pl.LazyFrame] | None = None

    def known_on(self, dates: pl.Series) -> pl.LazyFrame:
        """Return the rows to join to other data of these dates, as they were known on each date.

        For an upstream that is not read point-in-time this is ``frame``.
        """
        return self.frame if self.as_known is None else self.as_known(dates)


@dataclass(frozen=True, slots=True)
class Extract:
    """The output of a pipeline: (date x symbol) long, one column for each field, rows in any order.

    With ``complete`` the frame is the whole dataset. Without it, its rows replace everything stored
    from the date ``since`` on, and earlier rows stay; it must hold no row before ``since``. An
    incremental frame without rows changes nothing: the source has nothing newer.
    """

    frame: pl.DataFrame
    complete: bool


class Pipeline(Definition):
    """Base of the definitions that read a source or compute from upstreams."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.PIPELINE

    @property
    def data_frequency(self) -> str | None:
        """Return how often the source has new data; ``None`` disables the check for late data.

        ``daily``, ``weekly`` (Friday) or ``weekly:MON``, ``monthly``, ``quarterly``, ``irregular``.
        """
        return None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return the problems that would make every run fail, without reading data; empty if none.

        ``upstreams`` come in the order of the instance's ``upstream_refs``. A path that begins with
        ``config`` is in this component's configuration, ``upstream_refs`` in the instance's. When
        you override it, add to the problems that this method returns.
        """
        return [*self.compatibility_rules.problems(upstreams), *self._missing_columns(upstreams)]

    def check_executor(self, executor: Executor) -> list[Problem]:
        """Return why an executor cannot run this pipeline; by default only its own process can."""
        if executor.in_process:
            return []
        message = f"pipeline {self.name!r} runs in one piece: use the executor local"
        return [Problem("executor.definition", message)]

    def delivers(self) -> Mapping[str, str] | None:
        """Return the columns that it delivers with its configuration, and their polars types.

        ``None`` if only a run can show them. By default ``output_schema`` of the class.
        """
        return self.output_schema

    def list_symbols(self) -> tuple[str, ...] | None:
        """Return every symbol that the output can have; ``None`` if only a run can show them."""
        return None

    def _missing_columns(self, upstreams: Sequence[UpstreamShape]) -> Iterable[Problem]:
        for at, shape in enumerate(upstreams):
            if shape.columns is None:
                continue
            there = ", ".join(shape.columns)
            for column in self.input_schema or ():
                if column not in shape.columns:
                    text = f"{shape.resource!r} has no column {column!r} (there are {there})"
                    yield Problem(f"upstream_refs[{at}]", text)

    @abstractmethod
    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        """Return the data from ``since`` on, or all of it if ``since`` is ``None``.

        ``inputs`` come in the order of ``upstream_refs``; several may have the same role. A
        pipeline that cannot work incrementally ignores ``since`` and delivers a complete extract.
        Raises ``DataRejected`` if the source or an input is invalid.
        """
