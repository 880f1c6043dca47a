"""The console script: assembles the commands and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waited and something is not READY.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from prefect_instances.cli.commands import (
    backfill,
    catalog,
    compare,
    data,
    deploy,
    doctor,
    experiments,
    inspect,
    instance,
    lifecycle,
    lineage,
    live,
    local,
    maintenance,
    plot,
    runs,
    timeline,
)
from prefect_instances.cli.output import FAILED, NOT_READY, warn
from prefect_instances.cli.waiting import TookTooLong
from prefect_instances.libs.core.errors import InstancesError, InvalidSpec

DEBUG = "--debug"

app = typer.Typer(
    name="instances",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep datasets, signals, models and backtests fresh with Prefect flows.",
)

for group in (
    local,
    lifecycle,
    instance,
    experiments,
    inspect,
    timeline,
    lineage,
    live,
    runs,
    backfill,
    data,
    compare,
    plot,
    catalog,
    deploy,
    doctor,
    maintenance,
):
    group.register(app)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback if an error occurs.")
    ] = False,
) -> None:
    """Declare the options of every command; ``main`` has read them already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    # Before anything imports Prefect, whose client sends usage data from a terminal.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    try:
        app([word for word in words if word != DEBUG], prog_name="instances")
    except InvalidSpec as error:
        _fail(error, [str(problem) for problem in error.problems], debug)
    except TookTooLong as error:
        _fail(error, [str(error)], debug, NOT_READY)
    except InstancesError as error:
        _fail(error, [_one_line(str(error))], debug)
    except BrokenPipeError:
        # The reader of our output has ended (`instances list | head`); this is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  # a person gets a line, never a traceback
        text = f"unexpected {type(error).__name__}: {_one_line(str(error))}"
        _fail(error, [f"{text} (the traceback: {DEBUG})"], debug)


def _fail(error: Exception, lines: Sequence[str], debug: bool, code: int = FAILED) -> None:
    """Print the error on stderr and exit; with ``debug``, print the traceback first."""
    if debug:
        import traceback

        traceback.print_exception(error)
    for line in lines:
        warn(f"instances: {line}")
    sys.exit(code)


def _one_line(text: str) -> str:
    return " ".join(text.split())
