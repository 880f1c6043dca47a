"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of an instance, or project/name.")]
OptionalName = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]", help="Name of an instance, or project/name. Default: all instances."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else to stdout.")
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="Wait for everything that it starts; exit with 3 if something is not READY."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", min=0, metavar="SECONDS", help="Maximum time to wait; 0 means no limit."
    ),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show the plan; change nothing.")]
Audited = Annotated[
    bool,
    typer.Option(
        "--audited", help="Refuse it unless `instances audit` found no look-ahead in the output."
    ),
]
