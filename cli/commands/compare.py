"""``compare``: show what changed between two versions of an output."""

from __future__ import annotations

from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Json, Name
from prefect_instances.cli.output import emit_json, emit_rows

SHOWN = 20

COUNTS = ("added", "removed", "changed")


def compare(
    name: Name,
    before: Annotated[
        str, typer.Argument(metavar="V1", help="Generation or id of the earlier version.")
    ],
    after: Annotated[
        str, typer.Argument(metavar="V2", help="Generation or id of the later version.")
    ],
    json: Json = False,
) -> None:
    """Compare two versions of an output: rows added, removed and changed, and columns."""
    from prefect_instances.libs.desk import compare as compare_versions

    found = compare_versions(name, before, after)
    if json:
        emit_json(found.document())
        return
    for line in found.summarise():
        print(line)
    for key, table in (("date", found.by_date), ("symbol", found.by_symbol)):
        if table.height:
            print()
            newest = table.tail(SHOWN) if key == "date" else table.head(SHOWN)
            emit_rows((key, *COUNTS), [[str(cell) for cell in row] for row in newest.rows()])
            if table.height > SHOWN:
                print(f"… {table.height - SHOWN} more; `--json` lists all")
