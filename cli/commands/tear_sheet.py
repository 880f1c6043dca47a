"""``tear-sheet``: judge a signal by the returns that follow its values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json, Name
from prefect_instances.cli.output import emit_json, emit_rows
from prefect_instances.libs.desk import tear_sheet as judge
from prefect_instances.libs.quant.tear_sheet import HORIZONS, QUANTILES
from prefect_instances.libs.services.rendering.tear_sheets import (
    HORIZON_COLUMNS,
    list_horizons,
    list_quantiles,
    name_quantiles,
)


def tear_sheet(  # one argument for each option
    name: Name,
    horizons: Annotated[
        str, typer.Option("--horizons", metavar="N,N", help="Horizons of the returns, in bars.")
    ] = ",".join(map(str, HORIZONS)),
    quantiles: Annotated[
        int, typer.Option("--quantiles", min=2, metavar="N", help="Groups of equal size.")
    ] = QUANTILES,
    price_column: Annotated[
        str, typer.Option("--price-column", metavar="COLUMN", help="Column with the prices.")
    ] = "close",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write a page, .html or .md.")
    ] = None,
    json: Json = False,
) -> None:
    """Show how a signal relates to the returns that follow its values."""
    if out is not None and out.suffix not in {".html", ".md"}:
        raise typer.BadParameter("the file must end in .html or .md", param_hint="--out")
    found = judge(name, horizons=_numbers(horizons), quantiles=quantiles, price_column=price_column)
    if out is not None:
        print(f"written to {found.save(out)}")
    elif json:
        emit_json(asdict(found.figures))
    else:
        print(repr(found))
        emit_rows(HORIZON_COLUMNS, list_horizons(found.figures.horizons))
        print("mean return by quantile of the signal")
        emit_rows(["horizon", *name_quantiles(quantiles)], list_quantiles(found.figures.horizons))


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter("must be whole numbers like 1,5,21", param_hint="--horizons")
    return [int(part) for part in parts]
