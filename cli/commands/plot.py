"""``plot``: draw the output of an instance as an interactive page."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Name


def plot(  # noqa: PLR0913  # one argument for each option
    name: Name,
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="Generation or id of a version.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B", help="Fields to draw.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", metavar="A,B", help="Symbols to draw.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="DATE", help="First date to draw.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="DATE", help="Last date to draw.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The HTML file; a temporary one if left out."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Draw an output as a page that works without internet, and print its path.

    A dataset: fields by symbol. A signal: values and coverage. A backtest: equity and drawdown. An
    optimizer: weights.
    """
    if out is not None and out.suffix != ".html":
        raise typer.BadParameter("the file must end in .html", param_hint="--out")
    from prefect_instances.cli.commands.data import split_names
    from prefect_instances.libs.desk import plot as draw
    from prefect_instances.libs.services.rendering.figures import write_page

    figure = draw(
        name,
        version=version,
        columns=split_names(columns),
        symbols=split_names(symbols),
        start=start,
        end=end,
    )
    path = write_page(figure, (out or _temporary(name)).resolve())
    print(path)
    if open_:
        webbrowser.open(path.as_uri())


def _temporary(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="instances-plot-")) / f"{name.replace('/', '-')}.html"
