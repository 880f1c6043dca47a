"""``audit``: prove that an output does not look ahead, or show where it does."""

from __future__ import annotations

from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json, Name
from prefect_instances.cli.output import FAILED, emit_json, emit_rows
from prefect_instances.libs.definitions.look_ahead import Comparison
from prefect_instances.libs.desk import audit as audit_output

HEADERS = ("date", "inputs", "rows", "result")


def audit(
    name: Name,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="S", help="Repeat a choice of dates and numbers."),
    ] = None,
    points: Annotated[
        int, typer.Option("--points", min=1, metavar="N", help="How many dates to draw.")
    ] = 5,
    json: Json = False,
) -> None:
    """Check that no value of an output depends on data of later dates.

    Inputs are truncated, shuffled and restated after random dates; the output up to each date must
    stay the same. The result is stored with the version. Exits with 1 if it looks ahead.
    """
    found = audit_output(name, seed=seed, points=points)
    if json:
        emit_json(found.document())
    else:
        emit_rows(HEADERS, [_row(one) for one in found.audit.comparisons])
        print(f"{found.name} version {found.generation}: {found.audit.verdict}")
        print(f"repeat it with --seed {found.audit.seed}")
    if not found.passed:
        raise typer.Exit(FAILED)


def _row(one: Comparison) -> list[str]:
    result = one.error and f"not compared: {one.error}"
    return [str(one.day), one.change, f"{one.rows:,}", result or str(one.leak or "same")]
