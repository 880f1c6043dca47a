"""``data``: show, query and export the output of an instance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from prefect_instances.cli.commands.arguments import Json, Name
from prefect_instances.cli.output import emit_json, emit_rows
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.desk import read

HEAD = 10


def data(  # noqa: PLR0913  # one argument for each option
    name: Name,
    head: Annotated[
        int | None, typer.Option("--head", min=1, metavar="N", help="Rows to show; 10 if left out.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="Generation or id of a version.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="Last date of the rows.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B", help="Fields to show.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", metavar="A,B", help="Symbols to show.")
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option("--sql", metavar="QUERY", help="Query over the table `data`; it only reads."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write .parquet or .csv instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the rows of an instance's output, or write them to a file."""
    if out is not None and out.suffix not in {".parquet", ".csv"}:
        raise typer.BadParameter("the file must end in .parquet or .csv", param_hint="--out")
    frame = read(
        name,
        version=version,
        as_of=as_of,
        columns=split_names(columns),
        symbols=split_names(symbols),
    )
    if sql is not None:
        frame = _query(frame, sql)
    if out is not None:
        rows = frame.collect() if head is None else frame.head(head).collect()
        rows.write_parquet(out) if out.suffix == ".parquet" else rows.write_csv(out)
        print(f"{rows.height} rows written to {out}")
        return
    rows = frame.head(head or HEAD).collect()
    if json:
        emit_json({"columns": rows.columns, "rows": rows.to_dicts()})
    else:
        emit_rows(rows.columns, [[_text(cell) for cell in row] for row in rows.rows()])


def split_names(text: str | None) -> list[str] | None:
    """Split names at commas; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _query(frame: pl.LazyFrame, sql: str) -> pl.LazyFrame:
    """Run a query over the frame, as table ``data``; raise PermanentError if it is refused."""
    try:
        result = pl.SQLContext(data=frame).execute(sql, eager=False)
        result.collect_schema()
    except pl.exceptions.PolarsError as error:
        first = (str(error).splitlines() or [""])[0]
        raise PermanentError(f"the query cannot be run: {first}") from error
    return result


def _text(value: object) -> str:
    return "" if value is None else str(value)
