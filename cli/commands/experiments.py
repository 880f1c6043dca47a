"""``experiment``: turn an experiment into a signal or a macro."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from prefect_instances.cli.commands.arguments import Audited, Json, Name, PlanOnly
from prefect_instances.cli.commands.instance import (
    promote_to_signal,
    read_document,
    submit_and_wait,
)
from prefect_instances.cli.output import emit_json
from prefect_instances.cli.session import open_services
from prefect_instances.libs.services.lifecycle.macros import MacroRequest, plan_macro

app = typer.Typer(
    help="Turn experiments into signals or macros.", add_completion=False, rich_markup_mode=None
)
app.callback()(lambda: None)


@app.command()
def promote(  # noqa: PLR0913  # one argument for each option of the command
    name: Name,
    as_: Annotated[
        str, typer.Option("--as", metavar="SIGNAL", help="Create a signal with this name.")
    ] = "",
    as_macro: Annotated[
        str, typer.Option("--as-macro", metavar="MACRO", help="Save a macro with this name.")
    ] = "",
    spec: Annotated[
        Path | None,
        typer.Option(
            "--spec",
            exists=True,
            dir_okay=False,
            readable=True,
            help="YAML or JSON file with the signal's contract. Default: no bounds.",
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="Turn this constant into an argument of the macro; its value becomes the default.",
        ),
    ] = None,
    version: Annotated[
        str, typer.Option(help="Version of the macro. Default: the next major version.")
    ] = "",
    audited: Audited = False,
    plan: PlanOnly = False,
    json: Json = False,
) -> None:
    """Create a signal or a macro from an experiment's expression."""
    if bool(as_) == bool(as_macro):
        raise typer.BadParameter("use either --as SIGNAL or --as-macro MACRO")
    if as_ and (parameter or version):
        raise typer.BadParameter("--parameter and --version require --as-macro")
    if as_macro and spec:
        raise typer.BadParameter("--spec requires --as: a macro has no contract")
    if as_macro and audited:
        raise typer.BadParameter("--audited requires --as: a macro has no output")
    if as_:
        document = read_document(spec) if spec else {}
        contract = document.get("signal", document)
        promote_to_signal(name, as_, contract, plan, json, audited=audited)
    else:
        _save_macro(name, as_macro, _numbers(parameter or ()), version, plan, json)


def _numbers(given: Iterable[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not NAME=NUMBER") from None
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice")
        found[name] = value
    return found


def _save_macro(
    name: str, macro: str, parameters: dict[str, float], version: str, plan: bool, json: bool
) -> None:
    with open_services() as services:
        planned = plan_macro(services, MacroRequest(name, macro, parameters, version)).document()
    if json:
        emit_json(planned)
    else:
        print(f"{planned['action']} {planned['usage']} version {planned['version']}")
    if plan or planned["action"] == "unchanged":
        return
    asked = {"experiment": name, "name": macro, "parameters": parameters, "version": version}
    done = "" if json else f"{name} saved as {macro} {planned['version']}"
    submit_and_wait("save-macro", asked, f"saving of {macro}", done)
