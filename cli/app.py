"""The console script: assembles the commands and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waited and something is not READY.
"""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from prefect_instances.cli.errors import TookTooLong
from prefect_instances.cli.output import FAILED, NOT_READY, warn
from prefect_instances.libs.core.errors import InstancesError, InvalidSpec

DEBUG = "--debug"

COMMANDS = {
    "demo": ("local:demo", "Run an example project on real market data."),
    "up": ("local:up", "Start a Prefect server and a worker."),
    "down": ("local:down", "Stop the processes that `up` started."),
    "apply": ("lifecycle:apply", "Create and update instances as a manifest describes them."),
    "delete": ("lifecycle:delete", "Remove an instance."),
    "update": ("instance:update", "Change the configuration of an instance."),
    "pause": ("instance:pause", "Pause an instance."),
    "resume": ("instance:resume", "Resume a paused instance."),
    "promote": ("instance:promote", "Create a signal from a dataset."),
    "history": ("instance:history", "List the configurations of an instance."),
    "diff": ("instance:diff", "Compare two configurations of an instance."),
    "list": ("inspect:list_instances", "List all instances, one on each line."),
    "show": ("inspect:show", "Show one instance in detail."),
    "status": ("inspect:status", "Show status, freshness and reason of instances."),
    "freshness": ("inspect:freshness", "Show the freshness of every upstream, and root causes."),
    "why": ("inspect:why", "Explain why an instance is not READY."),
    "timeline": ("timeline:timeline", "Show past and coming slots, sessions and holidays."),
    "lineage": ("lineage:lineage", "Show which instance reads from which, with statuses."),
    "watch": ("live:watch", "Show changes as they happen."),
    "token": ("live:token", "Create tokens to subscribe to an instance or a project."),
    "run": ("runs:run", "Run a flow of an instance now."),
    "runs": ("runs:runs", "List the runs of an instance, newest first."),
    "run-info": ("runs:run_info", "Show one run in detail."),
    "rerun": (
        "runs:rerun",
        "Repeat a run on its recorded inputs and compare the outputs. Nothing is published.",
    ),
    "backfill": ("backfill:backfill", "Read a past range of dates again, in several runs."),
    "data": ("data:data", "Show the rows of an instance's output, or write them to a file."),
    "compare": (
        "compare:compare",
        "Compare two versions of an output: rows added, removed and changed, and columns.",
    ),
    "plot": (
        "plot:plot",
        "Draw an output as a page that works without internet, and print its path.",
    ),
    "tear-sheet": (
        "tear_sheet:tear_sheet",
        "Show how a signal relates to the returns that follow its values.",
    ),
    "audit": (
        "audit:audit",
        "Check that no value of an output depends on data of later dates.",
    ),
    "deploy": (
        "deploy:deploy",
        "Prepare database and Prefect server.",
    ),
    "doctor": ("doctor:doctor", "Check what is reachable and what is broken; say what to do."),
    "reconcile": ("maintenance:reconcile", "Repair or report what differs from the database."),
    "verify": (
        "maintenance:verify",
        "Compare database, Prefect, MLflow, Evidently and disk; change nothing.",
    ),
    "export": ("maintenance:export", "Print a manifest of the existing instances."),
    "schema": ("maintenance:schema", "Print the JSON schema of manifests, for editors."),
    "experiment": ("experiments:app", "Turn experiments into signals or macros."),
    "definitions": ("catalog:app", "List and show installed definitions and saved macros."),
}
"""Where each command is, as module:function or module:typer, and the sentence that lists it."""


class LazyGroup(TyperGroup):
    """Group of commands that lists all with their help texts, but imports only the one called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of the command, the command from its module, and its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import the module of a command; return the command, or the group of commands."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(import_module(f"prefect_instances.cli.commands.{module}"), attribute)
    if isinstance(target, typer.Typer):
        return get_command(target)
    only = typer.Typer(add_completion=False, rich_markup_mode=None)
    only.command(name)(target)
    return get_command(only)


LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Addresses that are never reached through a proxy."""

OBJECTS_BEFORE_COLLECTION = 100_000
"""Allocations between two garbage collections of the young generation; Python has 700."""

app = typer.Typer(
    cls=LazyGroup,
    name="instances",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep datasets, signals, models and backtests fresh with Prefect flows.",
)

for name, (_, summary) in COMMANDS.items():
    app.command(name, help=summary)(lambda: None)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback if an error occurs.")
    ] = False,
) -> None:
    """Declare the options of every command; ``main`` has read them already."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    # Imports make no garbage: with Python's own threshold a fifth of their time goes into looking.
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    # Before anything imports Prefect, whose client sends usage data from a terminal.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    _print_anything()
    _reach_loopback()
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


def _print_anything() -> None:
    """Escape what the terminal cannot show: arrows in ASCII, lone surrogates of an error's text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reach_loopback() -> None:
    """Let no proxy stand between this machine's own servers and this process or its children."""
    for name in ("NO_PROXY", "no_proxy"):
        kept = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join(dict.fromkeys([*kept, *LOOPBACK]))


def _fail(error: Exception, lines: Sequence[str], debug: bool, code: int = FAILED) -> None:
    """Print the error on stderr and exit; with ``debug``, print the traceback first."""
    if debug:
        traceback.print_exception(error)
    for line in lines:
        warn(f"instances: {line}")
    sys.exit(code)


def _one_line(text: str) -> str:
    return " ".join(text.split())
