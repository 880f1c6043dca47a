"""Nobody is misled: what is broken, unknown or impossible is said at once, with what to do."""

from __future__ import annotations

import io
import os
import pty
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from prefect_instances.cli.app import main
from prefect_instances.cli.commands.catalog import NoSuchDefinition
from prefect_instances.cli.commands.inspect import _look_if_unswept
from prefect_instances.cli.doctor_checks import Level, check_changed_code
from prefect_instances.cli.obstacles import name_some
from prefect_instances.cli.output import CELL_WIDTH, plain_rows
from prefect_instances.cli.restoring import _sentence
from prefect_instances.libs.adapters.prefect import (
    PrefectGateway,
    UnusableSettings,
    require_settings,
)
from prefect_instances.libs.adapters.prefect.artifacts import shorten_cells
from prefect_instances.libs.adapters.prefect.own_settings import _describe
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Resource, ResourceVersion
from prefect_instances.libs.db.repositories.marks import record_swept
from prefect_instances.libs.db.repositories.resources import get_project, select_instances
from prefect_instances.libs.definitions.base import UpstreamShape
from prefect_instances.libs.definitions.optimizer import Constraints, list_infeasible
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.plugins.market_data import MarketDataPipeline
from prefect_instances.libs.services.composition.catalog import definition_id, register
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    Composition,
    list_unknown_symbols,
)
from prefect_instances.libs.specs import InstanceSpec
from tests.integration.bench import make_bench, prices, write_instance

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOBODY = "http://127.0.0.1:9/api"
"""An address at which nothing answers."""
FOUR = ("AAPL", "JPM", "KO", "MSFT")


@pytest.fixture
def own(
    tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A home whose database is empty, and no Prefect server."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INSTANCES_HOME", str(tmp_path))
    shutil.copy(migrated_sqlite, tmp_path / "instances.db")
    database = Database(f"sqlite:///{tmp_path / 'instances.db'}")
    yield database
    database.close()


@pytest.mark.parametrize(
    ("text", "profile", "said"),
    [
        ("this is [no toml", "", "profiles.toml cannot be read (Expected '='"),
        ('active = "nope"\n[profiles.mine]\n', "", "'nope', which does not exist (there are mine,"),
        ("", "absent", "PREFECT_PROFILE names the active Prefect profile 'absent'"),
    ],
)
def test_a_broken_profile_is_one_line_with_what_to_do(
    text: str, profile: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.toml").write_text(text)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    monkeypatch.setenv("PREFECT_PROFILE", profile)

    with pytest.raises(UnusableSettings) as caught:
        require_settings()

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "correct the file" in str(caught.value) or "`prefect profile use" in str(caught.value)


def test_a_profile_that_prefect_brings_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "absent.toml"))
    monkeypatch.setenv("PREFECT_PROFILE", "local")
    require_settings()


def test_a_wrong_setting_is_named_in_one_line() -> None:
    class Client(BaseModel):
        max_retries: int

    with pytest.raises(ValidationError) as caught:
        Client.model_validate({"max_retries": "many"})

    assert _describe(caught.value).startswith("max_retries: Input should be a valid integer")


def test_a_long_text_is_shortened_in_a_table_but_not_what_to_do() -> None:
    error, advice = "x" * 1700, "run this " * 40

    head, line = plain_rows(("subject", "what to do"), [[error, advice]])

    assert head.split() == ["SUBJECT", "WHAT", "TO", "DO"]
    assert line == f"{'x' * (CELL_WIDTH - 1)}…  {advice.rstrip()}"


def test_a_table_of_prefect_is_shortened_too() -> None:
    rows = [{"subject": "p/a", "difference": "line\n" + "x" * 1700, "count": 3}]

    (row,) = shorten_cells(rows)

    assert row["difference"] == "line " + "x" * 234 + "…"
    assert (row["subject"], row["count"]) == ("p/a", 3)


def test_a_future_day_is_refused_in_a_form_of_prefect_as_on_the_command_line() -> None:
    (problem,) = RunParameters(as_of=date(2026, 3, 3)).problems(NOW)

    assert str(problem) == (
        "as_of: 2026-03-03 is in the future; leave it out to read the newest data"
    )
    assert RunParameters(as_of=date(2026, 3, 2)).problems(NOW) == []
    (later,) = RunParameters(start=date(2026, 3, 3), end=date(2026, 4, 1)).problems(NOW)
    assert str(later) == "start: 2026-03-03 is in the future: there is nothing to read yet"
    assert [p.path for p in RunParameters(as_of=date(2300, 1, 1)).problems(NOW)] == ["as_of"]


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (
            Constraints(max_weight=0.2),
            "constraints.max_weight: 0.2 on 4 assets cannot sum to 1; it must be at least 0.25",
        ),
        (
            Constraints(min_weight=0.3),
            "constraints.min_weight: 0.3 on 4 assets sums to more than 1; it must be at most 0.25",
        ),
        (
            Constraints(
                max_weight=0.3,
                sectors={"tech": ("AAPL", "MSFT", "AMD")},
                sector_limits={"tech": (0.0, 0.2)},
            ),
            "constraints.sector_limits: allow a sum of 0.8 at most; the weights sum to 1",
        ),
        (
            Constraints(
                sectors={"tech": ("AAPL", "MSFT"), "rest": ("JPM", "KO")},
                sector_limits={"tech": (0.6, 1.0), "rest": (0.6, 1.0)},
            ),
            "constraints.sector_limits: demand a sum of 1.2 at least; the weights sum to 1",
        ),
    ],
)
def test_bounds_that_no_weights_can_keep_are_told_before_a_run(
    constraints: Constraints, said: str
) -> None:
    assert [str(problem) for problem in list_infeasible(constraints, FOUR)] == [said]


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(),
        Constraints(max_weight=0.25),
        Constraints(min_weight=-0.5, max_weight=0.5),
        Constraints(
            sectors={"a": ("AAPL", "KO"), "b": ("KO", "JPM")},
            sector_limits={"a": (0.0, 0.1), "b": (0.0, 0.1)},
        ),
    ],
)
def test_bounds_that_some_weights_keep_are_accepted(constraints: Constraints) -> None:
    assert list_infeasible(constraints, FOUR) == []


def test_the_symbols_of_a_source_are_known_without_a_run() -> None:
    assert MarketDataPipeline({"symbols": ["KO", "JPM"]}).list_symbols() == ("KO", "JPM")
    assert MarketDataPipeline({"source": "sp500"}).list_symbols() == ("SP500",)


def test_an_unknown_project_gets_the_nearest_ones(own: Database) -> None:
    def add(session: Session) -> None:
        session.add(
            Resource(
                id=uuid4(),
                type="Project",
                scope="Project",
                name="Research",
                name_key="research",
                lifecycle="ACTIVE",
                created_at=NOW,
                updated_at=NOW,
            )
        )

    own.transact(add)
    with own.read() as session:
        assert get_project(session, "RESEARCH").name == "Research"
        with pytest.raises(NotFound, match="no project 'reserch', did you mean Research"):
            get_project(session, "reserch")


def test_an_unknown_definition_gets_the_nearest_one() -> None:
    assert "did you mean 'market_data'?" in str(NoSuchDefinition("marketdata", ["market_data"]))


def test_code_that_changed_under_its_version_is_told_by_doctor(own: Database) -> None:
    own.transact(lambda session: register(session, MarketDataPipeline, NOW))
    unchanged = check_changed_code(own)

    def change(session: Session) -> None:
        resource = definition_id(MarketDataPipeline.kind, "market_data")
        (version,) = session.query(ResourceVersion).filter_by(resource_id=resource)
        version.content_hash = "0" * 64

    own.transact(change)
    changed = check_changed_code(own)

    assert unchanged.level is Level.OK
    assert changed.level is Level.WARN
    assert changed.detail == (
        "PipelineDef market_data 1.0.0 has other code than was registered as this version"
    )


def test_status_asks_prefect_only_when_sweeps_fail_to_come(own: Database) -> None:
    own.transact(lambda session: record_swept(session, NOW))

    assert _look_if_unswept(own, NOW + timedelta(minutes=4)) == []
    (line,) = _look_if_unswept(own, NOW + timedelta(minutes=6))
    assert "start it with `instances up`" in line


@pytest.fixture
def emptying(own: Database, tmp_path: Path) -> tuple[Database, Path]:
    """A project with one instance, and a manifest that is empty."""
    manifest = tmp_path / "empty.yaml"
    manifest.write_text("project: demo\ninstances: []\n")
    bench = make_bench(own, PrefectGateway.connect(NOBODY), tmp_path)
    write_instance(bench, prices("demo"))
    return own, manifest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prune"], "this removes every instance of demo; add --yes if that is intended"),
        (["--prune", "--yes"], "no connection at 127.0.0.1:9"),
    ],
)
@pytest.mark.usefixtures("retries_at_once")
def test_an_empty_manifest_prunes_a_project_only_if_that_is_confirmed(
    emptying: tuple[Database, Path],
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database, manifest = emptying
    monkeypatch.setattr("sys.stdin", io.StringIO())

    with temporary_settings({PREFECT_API_URL: NOBODY}), pytest.raises(SystemExit) as ended:
        main(["apply", "-f", str(manifest), *options])

    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    with database.read() as session:
        assert [named.label for named in select_instances(session)] == ["demo/prices"]


@pytest.mark.parametrize(
    ("answer", "said"), [("n", "Aborted"), ("y", "no connection at 127.0.0.1:9")]
)
@pytest.mark.usefixtures("retries_at_once")
def test_at_a_terminal_the_question_is_asked(
    emptying: tuple[Database, Path],
    answer: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    _, manifest = emptying
    terminal, typed = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())

    with os.fdopen(typed) as stdin, temporary_settings({PREFECT_API_URL: NOBODY}):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            main(["apply", "-f", str(manifest), "--prune"])
    os.close(terminal)

    assert ended.value.code == 1
    shown = capfd.readouterr()
    assert "this removes every instance of demo: go on? [y/N]" in shown.out
    assert said in shown.err


def test_only_some_of_many_names_are_told() -> None:
    assert name_some(["a", "b"]) == "a, b"
    assert name_some(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_what_up_restored_is_one_line() -> None:
    assert _sentence(0, 0) == ""
    assert _sentence(3, 0) == "Prefect had lost deployments of instances: 3 of 3 are restored"
    assert "2 of 3 are restored; `instances doctor` names the others" in _sentence(3, 1)


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        (FOUR, ["sector.symbols[1]: 'prices' has no symbol 'APPL', did you mean 'AAPL'?"]),
        (None, []),
    ],
)
def test_a_symbol_that_the_prices_cannot_have_is_told_by_the_plan(
    symbols: tuple[str, ...] | None, said: list[str]
) -> None:
    shapes = (UpstreamShape("prices", "prices", "DatasetInstance", None, symbols),)
    composition = Composition(cast(InstanceSpec, None), {}, shapes, Registry())
    named = [("sector.symbols[0]", "KO"), ("sector.symbols[1]", "APPL")]

    assert [*map(str, list_unknown_symbols(composition, named))] == said
