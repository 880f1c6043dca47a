"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An instance: its name, or project/name.")
]
OptionalName = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]", help="An instance: its name, or project/name; all if left out."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for what it sets off; exit 3 if it is not READY then.")
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", min=0, metavar="SECONDS", help="How long to wait at most; 0: without limit."
    ),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show what would be done; do nothing.")]
