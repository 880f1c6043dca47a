"""Pipelines: where the data of a dataset or a signal comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar

from prefect_instances.libs.core.errors import Problem
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.definitions.base import Definition, DefinitionKind, UpstreamShape

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class ExtractContext:
    """For whom and when a pipeline runs.

    ``instance`` is the instance's name, ``now`` an aware time that the pipeline takes for the
    present, ``as_of`` the newest date of data that it may deliver (``None``: no limit).
    """

    instance: str
    now: datetime
    as_of: date | None = None
    mode: Mode = Mode.INCREMENTAL

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("ExtractContext.now must be an aware time")


@dataclass(frozen=True, slots=True)
class Input:
    """One upstream as it was pinned for this run.

    ``frame`` is what the upstream's accessor lets through: (date x symbol) long, one column a
    field. It always shows the pinned version, whatever the upstream does meanwhile. Of an upstream
    that is read point-in-time each date is as it was known at its end.
    """

    resource: str
    role: str
    frame: pl.LazyFrame
    as_known: Callable[[pl.Series], pl.LazyFrame] | None = None

    def known_on(self, dates: pl.Series) -> pl.LazyFrame:
        """The rows to join to other data of these dates: as they were known on each.

        Of an upstream that is not read point-in-time it is ``frame``.
        """
        return self.frame if self.as_known is None else self.as_known(dates)


@dataclass(frozen=True, slots=True)
class Extract:
    """What a pipeline delivers: (date x symbol) long, one column a field, in any row order.

    With ``complete`` the frame is the whole dataset. Without, its rows replace everything that is
    stored from the date ``since`` on, and earlier rows stay; it must hold no row before ``since``.
    Without any row it changes nothing: the source has nothing newer.
    """

    frame: pl.DataFrame
    complete: bool


class Pipeline(Definition):
    """Base of the definitions that read a source, or compute from upstreams."""

    kind: ClassVar[DefinitionKind] = DefinitionKind.PIPELINE

    @property
    def data_frequency(self) -> str | None:
        """How often the source has new data; ``None``: lateness is not judged.

        ``daily``, ``weekly`` (Friday) or ``weekly:MON``, ``monthly``, ``quarterly``, ``irregular``.
        """
        return None

    @property
    def max_loss(self) -> float | None:
        """Share of its dates, symbols, rows or values that a new version may lose; None: any.

        More than that is refused, as are a column that is gone or has another type.
        """
        return None

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """What would make every run fail, found without reading data; empty if nothing.

        ``upstreams`` come in the order of the instance's ``upstream_refs``. A path that begins by
        ``config`` is one in this component's configuration, ``upstream_refs`` one in the
        instance's. Override it, and add to what this one finds.
        """
        return [*self.compatibility_rules.problems(upstreams), *self._missing_columns(upstreams)]

    def delivers(self) -> Mapping[str, str] | None:
        """The columns that it delivers as it is configured, and their polars types.

        ``None`` where only a run can tell. By default what the class declares.
        """
        return self.output_schema

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
        """The data from ``since`` on, or all of it where ``since`` is ``None``.

        ``inputs`` come in the order of ``upstream_refs``; several may have the same role. A
        pipeline that cannot work incrementally ignores ``since`` and delivers a complete extract.
        Raises ``DataRejected`` where the source or an input is not what it must be.
        """
