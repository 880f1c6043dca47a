"""Pipeline ``expression``: a formula over the fields of upstream instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from prefect_instances.libs.core.errors import (
    DataRejected,
    DefinitionUnavailable,
    InvalidSpec,
    Problem,
)
from prefect_instances.libs.definitions.base import CompatibilityRules, Definition, UpstreamShape
from prefect_instances.libs.definitions.content import KEYS, KNOWLEDGE
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.expressions import (
    Program,
    compile_expression,
    run_program,
    split_by_symbol,
)
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.definitions.pipeline import Extract, ExtractContext, Input, Pipeline
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.definitions.registry import FUNCTIONS, Registry
from prefect_instances.libs.quant.prices import is_price_field, usable_price


class FieldSource(BaseModel):
    """The source of a name in the expression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: str = Field(default="", description="Role of the upstream; empty: the first upstream.")
    resource: str = Field(default="", description="Name of the upstream, if several have the role.")
    column: str = Field(default="", description="Column of the upstream; empty: the name itself.")
    symbol: str = Field(
        default="", description="Use the values of this symbol for every symbol of the same date."
    )


@dataclass(frozen=True, slots=True)
class Binding:
    """A name in the expression and its source; ``upstream`` is an index into the inputs."""

    name: str
    upstream: int
    column: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An expression with the rows that it is computed from; it can be pickled.

    ``rows``: (date x symbol) long, one column for each name in the expression.
    """

    program: Program
    output: str
    bindings: tuple[Binding, ...]
    rows: pl.DataFrame

    def compute(self, executor: Executor | None = None) -> pl.DataFrame:
        """Return (date, symbol, output) of every row with a value; DataRejected without any.

        ``executor`` runs the expression for parts of the symbols; None: this process, for all.
        """
        values = self._run(executor)
        if not values.height:
            _reject_empty(self.rows, self.program, self.bindings)
        return values

    def _run(self, executor: Executor | None) -> pl.DataFrame:
        # The classes of the ops are left out: other processes need not have their packages.
        shared = (replace(self.program, calls=()), self.output)
        if executor is None or executor.in_process:
            return run_program(shared, self.rows)
        parts = split_by_symbol(self.rows, executor.pieces)
        return pl.concat(executor.map(run_program, parts, shared))


class ExpressionPipeline(Pipeline):
    """A formula over fields of upstreams, such as ``ZSCORE(DELTA(close, 252))``.

    The rows are those of the first upstream that the expression reads symbol by symbol; fields of
    others join them by (date, symbol), or by date where ``symbol`` names one to be broadcast. Rows
    without a value, such as those of the warm-up, are left out. It always computes everything: an
    upstream may have revised its past.
    """

    name = "expression"
    version = "1.0.0"
    compatibility_rules: ClassVar[CompatibilityRules] = CompatibilityRules(min_upstreams=1)
    source_modules: ClassVar[tuple[str, ...]] = (
        "prefect_instances.libs.definitions.expressions.program",
        "prefect_instances.libs.definitions.expressions.syntax",
        "prefect_instances.libs.quant.prices",
    )

    class Config(Pipeline.Config):
        """Parameters of the pipeline."""

        expression: str = Field(examples=["ZSCORE(DELTA(close, 252))"])
        inputs: dict[str, FieldSource] = Field(
            default_factory=dict,
            description=(
                "Where the names in the expression come from; a name that is not listed is a "
                "column of the first upstream."
            ),
        )
        ops: dict[str, str] = Field(
            default_factory=dict,
            description=(
                "Pinned versions of ops and macros, by name. Others use the newest version at "
                "the time when the instance is created, and keep it."
            ),
            examples=[{"ZSCORE": "1.0.0"}],
        )
        output: str = Field(default="value", min_length=1, description="Name of the result column.")

    config: Config

    def check(self, upstreams: Sequence[UpstreamShape]) -> list[Problem]:
        """Return errors in the expression with their positions, and names without a source."""
        problems = super().check(upstreams)
        if self.config.output in (*KEYS, KNOWLEDGE):
            message = f"{self.config.output!r} is a key column, choose another name"
            problems.append(Problem("config.output", message))
        try:
            program = self._program()
        except InvalidSpec as error:
            return [*problems, *error.problems]
        except DefinitionUnavailable as error:
            pinned = error.name in self._pins()
            path = f"config.ops.{error.name}" if pinned else "config.expression"
            return [*problems, Problem(path, str(error))]
        problems += self._unused_pins(program)
        if not upstreams:
            return problems
        return [*problems, *self._bind(program, upstreams)[1]]

    def delivers(self) -> Mapping[str, str]:
        """Return the keys and the result column."""
        return {"date": "Date", "symbol": "String", self.config.output: "Float64"}

    def extract(
        self,
        context: ExtractContext,
        inputs: Sequence[Input],
        since: date | None,  # noqa: ARG002 - it delivers everything
    ) -> Extract:
        """Return the value of every (date, symbol) that has one, up to ``context.as_of``.

        Raises ``InvalidSpec`` if the expression or a binding is wrong, ``DefinitionUnavailable`` if
        an op is not installed, ``DataRejected`` if an input is not numeric or has duplicate keys,
        or if no row at all gets a value.
        """
        prepared = self.prepare(context, inputs)
        return Extract(prepared.compute(context.executor), complete=True)

    def prepare(self, context: ExtractContext, inputs: Sequence[Input]) -> Prepared:
        """Read and join what the expression needs; raises as ``extract`` does."""
        program = self._program()
        shapes = [_shape(given) for given in inputs]
        problems = [*super().check(shapes)]
        bindings, unbound = self._bind(program, shapes) if inputs else ((), [])
        if problems or unbound:
            raise InvalidSpec([*problems, *unbound])
        for binding in bindings:
            _require_numeric(inputs[binding.upstream], binding.column)
        joined = _join(inputs, bindings, context.as_of)
        return Prepared(program, self.config.output, bindings, joined)

    def check_executor(self, executor: Executor) -> list[Problem]:
        """Return the ops that need all symbols of a date, if the executor divides the symbols."""
        crossing = self._program().crossing if executor.pieces > 1 else ()
        if not crossing:
            return []
        message = (
            f"{', '.join(crossing)} reads all symbols of a date, so the rows stay whole: "
            "set pieces to 1, or use the executor local"
        )
        return [Problem("executor.config.pieces", message)]

    def calls(self) -> Iterable[type[Definition]]:
        """Return the ops and macros of the expression."""
        return self._program().calls

    def _pins(self) -> dict[str, str]:
        return {name.upper(): version for name, version in self.config.ops.items()}

    def _program(self) -> Program:
        pins = {(kind, name): at for name, at in self._pins().items() for kind in FUNCTIONS}
        known = self.registry if isinstance(self.registry, Registry) else load_installed()
        there = {(each.kind, each.name) for each in known.list()}
        registry = known.preferring({key: pins[key] for key in pins if key in there})
        try:
            return compile_expression(self.config.expression, registry)
        except InvalidSpec as error:
            path = "config.expression"
            raise InvalidSpec(problem.under(path) for problem in error.problems) from None

    def _bind(
        self, program: Program, upstreams: Sequence[UpstreamShape]
    ) -> tuple[tuple[Binding, ...], list[Problem]]:
        """Return the binding of each name, per-symbol ones first in order of their upstreams."""
        bindings: list[Binding] = []
        problems = self._unused_inputs(program)
        for name in program.names:
            source = self.config.inputs.get(name, FieldSource())
            listed = name in self.config.inputs
            path = f"config.inputs.{name}" if listed else "config.expression"
            index, problem = _upstream(source, upstreams, path)
            column = source.column or name
            if index is None:
                problems += [problem] if problem else []
                continue
            bindings.append(Binding(name, index, column, source.symbol))
            problems += _column_problems(upstreams[index], column, path)
        if bindings and not problems and all(binding.symbol for binding in bindings):
            message = "at least one name must come from every symbol, not from a broadcast one"
            problems.append(Problem("config.inputs", message))
        return tuple(sorted(bindings, key=lambda b: (bool(b.symbol), b.upstream))), problems

    def _unused_pins(self, program: Program) -> list[Problem]:
        called = {definition.name for definition in program.calls}
        return [
            Problem(f"config.ops.{name}", f"the expression does not call {name!r}")
            for name in self.config.ops
            if name.upper() not in called
        ]

    def _unused_inputs(self, program: Program) -> list[Problem]:
        # An error: the name of a misspelt source would be read from the first upstream.
        return [
            Problem(f"config.inputs.{name}", f"the expression does not use {name!r}")
            for name in self.config.inputs
            if name not in program.names
        ]


def _upstream(
    source: FieldSource, upstreams: Sequence[UpstreamShape], path: str
) -> tuple[int | None, Problem | None]:
    """Return the index of the one upstream that ``source`` refers to, or a problem."""
    if not source.role and not source.resource:
        return 0, None
    meant = [
        place
        for place, shape in enumerate(upstreams)
        if source.role in ("", shape.role) and source.resource in ("", shape.resource)
    ]
    if len(meant) == 1:
        return meant[0], None
    there = ", ".join(f"{shape.resource} (role {shape.role})" for shape in upstreams)
    label = " ".join(
        f"{key} {value!r}"
        for key, value in (("role", source.role), ("resource", source.resource))
        if value
    )
    count = "no upstream has" if not meant else f"{len(meant)} upstreams have"
    hint = "; name the resource" if meant else ""
    return None, Problem(path, f"{count} {label}{hint} (there are {there})")


def _column_problems(shape: UpstreamShape, column: str, path: str) -> list[Problem]:
    if shape.columns is None:
        return []
    fields = [name for name in shape.columns if name not in (*KEYS, KNOWLEDGE)]
    if column in fields:
        return []
    there = f"(there are {', '.join(fields)})" if fields else "(it has no fields)"
    message = f"{shape.resource!r} has no field {column!r}{suggest_closest(column, fields)} {there}"
    return [Problem(path, message)]


def _shape(given: Input) -> UpstreamShape:
    columns = tuple(given.frame.collect_schema().names())
    return UpstreamShape(given.resource, given.role, "", columns)


def _until(frame: pl.LazyFrame, as_of: date | None) -> pl.LazyFrame:
    return frame if as_of is None else frame.filter(pl.col("date") <= as_of)


def _require_numeric(given: Input, column: str) -> None:
    dtype = given.frame.collect_schema()[column]
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataRejected(
            f"column {column!r} of {given.resource!r} is {dtype}, an expression needs numbers",
            {"resource": given.resource, "column": column, "type": str(dtype)},
        )


def _join(inputs: Sequence[Input], bindings: Sequence[Binding], as_of: date | None) -> pl.DataFrame:
    """Return (date, symbol) of the first binding's upstream, and one column for each name."""
    groups: dict[tuple[int, str], list[Binding]] = {}
    for binding in bindings:
        groups.setdefault((binding.upstream, binding.symbol), []).append(binding)
    joined: pl.DataFrame | None = None
    for (upstream, symbol), group in groups.items():
        keys = ["date"] if symbol else [*KEYS]
        given = inputs[upstream]
        rows = _until(given.frame if joined is None else given.known_on(joined["date"]), as_of)
        rows = rows.filter(pl.col("symbol") == symbol) if symbol else rows
        fields = [_values(binding.column).alias(binding.name) for binding in group]
        side = rows.select(*keys, *fields).collect()
        _require_unique(side, keys, given.resource)
        if symbol and not side.height:
            raise DataRejected(
                f"{given.resource!r} has no symbol {symbol!r}",
                {"resource": given.resource, "symbol": symbol},
            )
        joined = side if joined is None else joined.join(side, on=keys, how="left")
    if joined is None:
        raise DataRejected("the expression names no field", {})
    return joined


def _values(column: str) -> pl.Expr:
    """Return the values of a field; unusable prices become missing."""
    values = pl.col(column)
    return usable_price(values.cast(pl.Float64)) if is_price_field(column) else values


def _require_unique(side: pl.DataFrame, keys: Sequence[str], resource: str) -> None:
    twice = side.select(keys).is_duplicated().sum()
    if twice:
        label = ", ".join(keys)
        raise DataRejected(
            f"{twice} rows of {resource!r} have the same ({label}); "
            "use an accessor that returns one row for each",
            {"resource": resource, "rows": twice},
        )


def _reject_empty(joined: pl.DataFrame, program: Program, bindings: Sequence[Binding]) -> None:
    present: Mapping[str, int] = {
        binding.name: int(joined.get_column(binding.name).count()) for binding in bindings
    }
    longest = joined.group_by("symbol").len().select(pl.col("len").max()).item()
    raise DataRejected(
        f"no row has a value: the expression looks {program.lookback} rows back, "
        f"the longest symbol has {longest or 0}",
        {"lookback": program.lookback, "rows": joined.height, "present": dict(present)},
    )
