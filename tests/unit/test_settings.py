"""Settings: where values come from, which wins, and what a wrong one says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.errors import InvalidSpec, PermanentError
from prefect_instances.libs.settings import Settings, load_settings, read_config


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and no other setting."""
    for name in [name for name in os.environ if name.startswith("INSTANCES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INSTANCES_HOME", str(tmp_path))
    return tmp_path


def remember(where: Path, **values: Any) -> None:
    (where / "config.json").write_text(json.dumps(values))


def test_everything_defaults_to_files_in_the_home(home: Path) -> None:
    settings = load_settings()

    assert settings.home == home
    assert settings.store_root == home / "stores"
    assert settings.database_url == f"sqlite:///{home}/instances.db"


def test_without_a_home_it_is_below_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INSTANCES_HOME")

    assert load_settings().home == Path.home() / ".instances"


def test_a_relative_home_becomes_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("INSTANCES_HOME", "here")

    assert load_settings().home == home / "here"


def test_the_environment_wins_over_the_config_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(home, port=4001, pool="remembered")
    monkeypatch.setenv("INSTANCES_PORT", "4002")

    settings = load_settings()

    assert (settings.port, settings.pool) == (4002, "remembered")


def test_an_empty_variable_counts_as_not_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(home, port=4001)
    monkeypatch.setenv("INSTANCES_PORT", "")

    assert load_settings().port == 4001


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCES_POOL", "from_env")

    assert load_settings(pool="said").pool == "said"


def test_the_config_file_cannot_move_the_home(home: Path) -> None:
    remember(home, home="/elsewhere")

    assert load_settings().home == home


def test_a_remembered_block_leaves_the_url_empty(home: Path) -> None:
    remember(home, database_block="sqlalchemy-connector/instances")

    settings = load_settings()

    assert (settings.database_url, settings.database_block) == (
        "",
        "sqlalchemy-connector/instances",
    )


def test_a_url_stands_beside_a_remembered_block(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(home, database_block="sqlalchemy-connector/instances")
    monkeypatch.setenv("INSTANCES_DATABASE_URL", "sqlite:////elsewhere.db")

    assert load_settings().database_url == "sqlite:////elsewhere.db"


def test_the_password_of_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCES_DATABASE_URL", "postgresql+psycopg://u:pl4nted@h/d")

    assert "pl4nted" not in repr(load_settings())


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "EVIDENTLY_URL"])
def test_the_password_of_a_model_server_is_not_shown(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"INSTANCES_{name}", "https://u:pl4nted@h:5000/")
    monkeypatch.setenv("INSTANCES_EVIDENTLY_SECRET", "pl4nted")

    assert "pl4nted" not in repr(load_settings())


@pytest.mark.parametrize(
    "text",
    [
        "mlflow:5000",
        "sqlite:////x.db",
        "http://",
        "http://pl4nted@h:port",
        "https://h/?token=pl4nted",
        "http://[pl4nted",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "EVIDENTLY_URL", "MLFLOW_UI_URL", "EVIDENTLY_UI_URL"):
        monkeypatch.setenv(f"INSTANCES_{name}", text)

    with pytest.raises(InvalidSpec) as raised:
        load_settings()

    assert len(raised.value.problems) == 4
    assert "pl4nted" not in str(raised.value)


def test_an_address_for_links_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCES_MLFLOW_UI_URL", "https://u:pl4nted@h")

    with pytest.raises(InvalidSpec):
        load_settings()


@pytest.mark.parametrize(
    ("text", "url", "credentials"),
    [
        ("http://h:5000/", "http://h:5000", None),
        ("https://a%40b:p%3Aw@h/mlflow/", "https://h/mlflow", ("a@b", "p:w")),
        ("http://ann@[::1]:1", "http://[::1]:1", ("ann", "")),
    ],
)
def test_an_address_is_taken_apart(
    text: str, url: str, credentials: tuple[str, str] | None
) -> None:
    address = Address.parse(text)

    assert (address.url, address.credentials) == (url, credentials)


def test_every_wrong_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCES_PORT", "99999")
    monkeypatch.setenv("INSTANCES_DATABASE_BLOCK", "secret/pl4nted")

    with pytest.raises(InvalidSpec) as raised:
        load_settings()

    assert [problem.path for problem in raised.value.problems] == [
        "INSTANCES_DATABASE_BLOCK",
        "INSTANCES_PORT",
    ]
    assert "pl4nted" not in str(raised.value)


def test_a_heartbeat_slower_than_the_lease_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCES_HEARTBEAT_SECONDS", "30")

    with pytest.raises(InvalidSpec):
        load_settings()


@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_a_config_file_that_is_no_json_object_is_refused(home: Path, text: str) -> None:
    (home / "config.json").write_text(text)

    with pytest.raises(PermanentError):
        load_settings()


def test_a_home_that_is_not_there_has_no_config(home: Path) -> None:
    assert read_config(home / "nowhere") == {}


def test_every_setting_says_what_it_is_for() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]

    assert silent == []


@pytest.mark.parametrize("block", ["database-credentials/", "secret/x", "database-credentials"])
def test_a_database_block_has_a_known_type_and_a_name(home: Path, block: str) -> None:
    remember(home, database_block=block)

    with pytest.raises(InvalidSpec, match="sqlalchemy-connector/NAME or database-credentials/NAME"):
        load_settings()
