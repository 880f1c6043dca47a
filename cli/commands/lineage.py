"""``lineage``: show which instance reads from which."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from prefect_instances.cli.commands.arguments import Json, OptionalName
from prefect_instances.cli.graph import Line, mermaid, read_graph, tree_lines
from prefect_instances.cli.output import STATUS_STYLES, console, emit_json
from prefect_instances.cli.session import open_database
from prefect_instances.libs.services.views import reports


def lineage(
    name: OptionalName = "",
    json: Json = False,
    as_mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print a mermaid flowchart instead.")
    ] = False,
) -> None:
    """Show which instance reads from which, with statuses."""
    if json and as_mermaid:
        raise typer.BadParameter("choose one of --json and --mermaid")
    with open_database() as database:
        document = reports.lineage(database, name or None)
    if json:
        emit_json(document)
    elif as_mermaid:
        print(mermaid(read_graph(document)))
    else:
        _draw(tree_lines(read_graph(document)))


def _draw(lines: list[Line]) -> None:
    """Print the tree with the statuses in one column."""
    out = console()
    width = max((len(line.branch + line.node.label) for line in lines), default=0)
    for line in lines:
        head = f"{line.branch}{line.node.label}".ljust(width)
        text = Text(f"{head}  ", style="dim" if line.again else "")
        if not line.again:
            text.append(line.node.status, style=STATUS_STYLES.get(line.node.status, ""))
        text.append(f"  {line.note}" if line.note else "", style="dim")
        out.print(text)
