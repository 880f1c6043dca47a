"""The command line: exit codes, one line for an error, nothing but JSON on stdout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import pytest

from prefect_instances.cli.app import COMMANDS, load_command, main
from prefect_instances.libs.services.views import reports
from tests.prefect_server import free_port


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no other setting of ours or of Prefect's."""
    for name in [name for name in os.environ if name.startswith(("INSTANCES_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INSTANCES_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def instances(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        captured = capsys.readouterr()
        return Said(int(raised.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def migrated(home: Path, migrated_sqlite: Path) -> Path:
    """The home with an empty database of this version."""
    shutil.copy(migrated_sqlite, home / "instances.db")
    return home


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from prefect_instances.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'prefect', 'sqlalchemy', 'polars', 'pandas', 'pydantic', 'rich.table'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    assert "demo" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_first_sentence_of_its_help(name: str) -> None:
    first = load_command(name).help.split("\n\n")[0]

    assert " ".join(first.split()) == COMMANDS[name][1]


def test_an_unknown_command_is_wrong_usage(instances: Run) -> None:
    said = instances("statsu")

    assert (said.code, said.out) == (2, "")
    assert "Did you mean 'status'?" in said.err


def test_a_wrong_option_value_is_wrong_usage(instances: Run) -> None:
    assert instances("run", "a", "--as-of", "2020-13-01").code == 2
    assert instances("apply", "-f", "/nowhere.yaml").code == 2
    assert instances("lineage", "--json", "--mermaid").code == 2


@pytest.mark.parametrize("command", [["list"], ["status", "--json"], ["runs", "a"], ["lineage"]])
def test_a_home_without_a_database_is_one_clear_line(
    instances: Run, home: Path, command: list[str]
) -> None:
    said = instances(*command)

    assert (said.code, said.out) == (1, "")
    assert said.err.count("\n") == 1
    assert "instances up" in said.err
    assert not (home / "instances.db").exists()


def test_every_problem_of_a_spec_is_a_line_of_its_own(
    instances: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTANCES_PORT", "99999")
    monkeypatch.setenv("INSTANCES_SWEEP_SECONDS", "0")

    said = instances("list")

    assert said.code == 1
    assert [line.split(":")[1].strip() for line in said.err.splitlines()] == [
        "INSTANCES_PORT",
        "INSTANCES_SWEEP_SECONDS",
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_a_traceback_is_shown_only_with_debug(instances: Run, place: int) -> None:
    arguments = ["list"]
    arguments.insert(place, "--debug")

    assert "Traceback" not in instances("list").err
    assert "Traceback" in instances(*arguments).err


def test_an_unexpected_error_is_one_line_too(
    instances: Run, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> NoReturn:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(reports, "status", explode)

    said = instances("list")

    assert said.code == 1
    assert said.err.splitlines() == [
        "instances: unexpected ZeroDivisionError: two lines (the traceback: --debug)"
    ]


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (["list"], {"instances"}),
        (["status"], {"instances"}),
        (["lineage"], {"nodes", "edges"}),
        (["definitions"], {"definitions", "broken"}),
        (["definitions", "list"], {"definitions", "broken"}),
        (["definitions", "show", "market_data"], {"definitions"}),
    ],
)
def test_json_is_one_document_on_stdout(
    instances: Run, migrated: Path, command: list[str], keys: set[str]
) -> None:
    said = instances(*command, "--json")

    assert said.code == 0
    assert json.loads(said.out).keys() == keys
    assert said.err == ""


@pytest.mark.parametrize("command", [["show"], ["status"], ["runs"], ["freshness"], ["lineage"]])
def test_an_unknown_instance_is_named(instances: Run, migrated: Path, command: list[str]) -> None:
    said = instances(*command, "demo/nope")

    assert (said.code, said.out) == (1, "")
    assert "'demo/nope'" in said.err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--as", "signal", "--as-macro", "MACRO"],
        ["--as", "signal", "--version", "1.0.0"],
        ["--as", "signal", "--parameter", "d=21"],
        ["--as-macro", "MACRO", "--spec", __file__],
        ["--as-macro", "MACRO", "--audited"],
        ["--as-macro", "MACRO", "--parameter", "d"],
        ["--as-macro", "MACRO", "--parameter", "d=x"],
        ["--as-macro", "MACRO", "--parameter", "d=21", "--parameter", "d=5"],
    ],
)
def test_promoting_an_experiment_to_nothing_sensible_is_wrong_usage(
    instances: Run, options: list[str]
) -> None:
    said = instances("experiment", "promote", "lab/idea", *options)

    assert (said.code, said.out) == (2, "")
    assert "Error: Invalid value:" in said.err


def test_definitions_show_the_ids_that_documents_refer_to(instances: Run, migrated: Path) -> None:
    listed = json.loads(instances("definitions", "list", "--json").out)["definitions"]
    shown = json.loads(instances("definitions", "show", "delta", "--json").out)["definitions"]

    (entry,) = (each for each in listed if each["name"] == "delta")
    keys = ("definition_resource_id", "definition_version_id")
    assert [UUID(entry[key]) for key in keys] == [UUID(shown[0][key]) for key in keys]
    assert entry["definition_version_id"] in instances("definitions").out


def test_an_unknown_definition_is_named(instances: Run) -> None:
    said = instances("definitions", "show", "nope")

    assert said.code == 1
    assert "'nope'" in said.err


def test_a_table_outside_of_a_terminal_is_plain_text(instances: Run, migrated: Path) -> None:
    said = instances("status")

    assert said.out.split() == [
        "INSTANCE",
        "TYPE",
        "STATUS",
        "FRESHNESS",
        "GENERATION",
        "LAST",
        "DATA",
        "SINCE",
        "REASON",
    ]


@pytest.mark.usefixtures("retries_at_once")
def test_starting_a_run_without_a_server_says_how_to_get_one(
    instances: Run, migrated: Path
) -> None:
    said = instances("run", "demo/prices")

    assert said.code == 1
    assert "instances up" in said.err


def test_down_where_nothing_runs_is_no_error(instances: Run) -> None:
    said = instances("down")

    assert (said.code, said.out) == (0, "nothing was running\n")


def test_doctor_fails_and_says_what_to_do_in_an_empty_home(instances: Run) -> None:
    said = instances("doctor", "--json")

    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}
    assert said.code == 1
    assert checks["home"]["level"] == "ok"
    assert checks["database"]["level"] == checks["Prefect"]["level"] == "fail"
    assert all(check["advice"] for check in checks.values() if check["level"] != "ok")


@pytest.mark.parametrize("words", ["mlflo", "mlflow,grafana", "", "mlflow;evidently"])
def test_pages_that_do_not_exist_are_refused_with_those_that_do(
    instances: Run, home: Path, words: str
) -> None:
    said = instances("up", "--detach", "--with", words)

    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "--with knows mlflow, evidently" in said.err
    assert list(home.iterdir()) == []


def test_pages_of_a_store_that_is_on_a_server_are_refused(
    instances: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTANCES_MLFLOW_TRACKING_URI", "http://ann:pl4nted@mlflow:5000")

    said = instances("up", "--detach", "--with", "evidently,mlflow")

    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "INSTANCES_MLFLOW_TRACKING_URI" in said.err
    assert "pl4nted" not in said.err
    assert list(home.iterdir()) == []


def test_doctor_says_which_model_server_is_away_and_no_password(
    instances: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://ann:pl4nted@127.0.0.1:{free_port()}"
    monkeypatch.setenv("INSTANCES_MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("INSTANCES_EVIDENTLY_URL", address)

    said = instances("doctor", "--json")

    checks = {check["name"]: check for check in json.loads(said.out)["checks"]}
    for name in ("MLflow", "Evidently"):
        assert checks[name]["level"] == "fail"
        assert "unset INSTANCES_" in checks[name]["advice"]
    assert "pl4nted" not in said.out + said.err


@pytest.mark.parametrize(
    "url", ["mysql://u:pl4nted@h/d", "postgresql://h/d?password=pl4nted", "sqlite://", "pl4nted"]
)
def test_a_database_that_cannot_be_used_is_refused_before_anything_starts(
    instances: Run, home: Path, url: str
) -> None:
    said = instances("up", "--detach", "--database", url)

    assert said.code == 1
    assert "pl4nted" not in said.err
    assert list(home.iterdir()) == []
