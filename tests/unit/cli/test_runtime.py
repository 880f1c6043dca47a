"""The local runtime without servers: real small processes, locks, ports and environments."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.settings import Settings as PrefectSettings
from prefect.utilities.schema_tools import validation
from sqlalchemy.engine import make_url

from prefect_instances.cli.runtime import database, pages, processes, server, stack, web, worker
from prefect_instances.cli.runtime.environment import server_environment, worker_environment
from prefect_instances.cli.runtime.home import Home, HomeBusy
from prefect_instances.libs.adapters.prefect.patches import SCHEMAS, apply_patches
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.settings import Settings, load_settings, read_config

ROLE = "worker"
GRACE = 5.0
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open(sys.argv[1], 'w').write(str(child.pid))\n"
    "time.sleep(600)\n"
)
STUBBORN = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(sys.argv[1], 'w').write('ready')\n"
    "time.sleep(600)\n"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A prepared home; nothing of it runs after the test."""
    for name in [name for name in os.environ if name.startswith(("INSTANCES_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    prepared = Home(tmp_path)
    prepared.prepare()
    yield prepared
    for role in stack.ROLES:
        processes.stop(prepared, role, 0.1)


def run(home: Home, code: str) -> tuple[processes.Record, str]:
    """Start ``code`` for the role; its record and what it wrote into its file."""
    file = home.path / "said"
    command = [sys.executable, "-c", code, str(file)]
    record = processes.start(home, ROLE, command, dict(os.environ))
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, processes.last_words(home, ROLE)
        os.sched_yield()
    return record, file.read_text()


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_started_process_is_found_by_its_record(home: Home) -> None:
    record, _ = run(home, PARENT)

    found = processes.alive(home, ROLE)

    assert found is not None
    assert found.pid == record.pid
    assert os.getsid(record.pid) == record.pid, "Ctrl-C would reach it"


def test_stop_ends_the_children_too(home: Home) -> None:
    record, child = run(home, PARENT)

    assert processes.stop(home, ROLE, GRACE)

    assert not running(record.pid)
    assert not running(int(child))
    assert not processes.record_path(home, ROLE).exists()


def test_stop_finds_the_children_of_a_process_that_was_killed(home: Home) -> None:
    record, child = run(home, PARENT)
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)

    assert processes.alive(home, ROLE) is None
    assert processes.stop(home, ROLE, GRACE)

    assert not running(int(child))


def test_what_ignores_the_request_to_end_is_killed(home: Home) -> None:
    record, _ = run(home, STUBBORN)

    processes.stop(home, ROLE, 0.2)

    assert not running(record.pid)


def test_what_has_ended_is_not_waited_for_until_somebody_collects_its_status(home: Home) -> None:
    record, _ = run(home, STUBBORN)
    process = psutil.Process(record.pid)

    assert processes.wait_for_ends([process], 0.1) == [process]
    process.kill()
    assert processes.wait_for_ends([process], 30) == []

    assert process.status() == psutil.STATUS_ZOMBIE


def test_the_status_of_what_was_started_here_is_collected(home: Home) -> None:
    record, _ = run(home, PARENT)

    processes.stop(home, ROLE, GRACE)

    assert not psutil.pid_exists(record.pid)


def test_a_recycled_process_id_is_neither_taken_for_ours_nor_killed(home: Home) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    )
    try:
        # Until it runs, its environment cannot be read.
        assert stranger.stdout is not None
        stranger.stdout.readline()
        created = psutil.Process(stranger.pid).create_time()
        record = {"role": ROLE, "pid": stranger.pid, "created": created}
        processes.record_path(home, ROLE).write_text(json.dumps(record))

        assert processes.alive(home, ROLE) is None
        assert not processes.stop(home, ROLE, GRACE)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_record_is_no_obstacle(home: Home, text: str) -> None:
    processes.record_path(home, ROLE).write_text(text)

    assert processes.alive(home, ROLE) is None
    assert not processes.stop(home, ROLE, GRACE)


def test_the_processes_of_another_home_are_left_alone(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    record, _ = run(home, PARENT)

    assert not processes.stop(other, ROLE, GRACE)

    assert running(record.pid)


def test_a_child_of_a_caller_that_ignores_interrupts_does_not_ignore_them(home: Home) -> None:
    code = (
        "import signal, sys, time\n"
        "kept = signal.getsignal(signal.SIGINT) == signal.SIG_IGN\n"
        "open(sys.argv[1], 'w').write(str(kept))\n"
        "time.sleep(600)\n"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _, ignores = run(home, code)
        kept = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert (ignores, kept) == ("False", signal.SIG_IGN)


def test_a_long_log_is_put_aside_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_LIMIT_BYTES", 3)
    processes.log_path(home, ROLE).write_text("old words")

    run(home, PARENT)

    assert processes.log_path(home, ROLE).with_suffix(".log.1").read_text() == "old words"


def test_the_last_words_of_a_process_are_quoted(home: Home) -> None:
    asked = '127.0.0.1:5 - "GET /health?full=1 HTTP/1.1" 200 OK'
    processes.log_path(home, ROLE).write_text(f"first\nport is taken\n{asked}\n\n")

    assert "'port is taken'" in processes.last_words(home, ROLE)


def test_a_locked_home_is_busy_and_free_again_after(home: Home) -> None:
    waited: list[bool] = []
    with home.lock(), pytest.raises(HomeBusy), home.lock(0, lambda: waited.append(True)):
        pytest.fail("two held the lock")

    with home.lock(0):
        assert waited == [True]


def test_what_is_remembered_is_merged_and_forgotten_by_none(home: Home) -> None:
    home.remember(port=1, pool="a")
    home.remember(pool=None, prefect_api_url="u")

    assert read_config(home.path) == {"port": 1, "prefect_api_url": "u"}


def test_a_home_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PermanentError):
        Home(tmp_path / "file" / "home").prepare()


def test_the_server_gets_nothing_of_another_prefect(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://elsewhere")
    monkeypatch.setenv("PREFECT_PROFILE", "cloud")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1234")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("OTHER", "kept")

    environment = server_environment(home, "http://127.0.0.1:4321/api", Settings(home=home.path))

    assert str(home.prefect) in environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert environment["OTHER"] == "kept"
    assert not {"PREFECT_PROFILE", "PREFECT__FLOW_RUN_ID"} & environment.keys()


@pytest.mark.parametrize(
    ("days", "vacuumed", "kept"),
    [(90, {"events", "flow_runs", "orphans"}, 90), (7, {"events", "flow_runs", "orphans"}, 7),
     (0, {"events"}, None)],
)  # fmt: skip
def test_prefect_understands_how_long_the_server_keeps_runs_and_events(
    home: Home, monkeypatch: pytest.MonkeyPatch, days: int, vacuumed: set[str], kept: int | None
) -> None:
    settings = Settings(home=home.path, server_run_days=days, server_event_days=2)
    wanted = server_environment(home, "http://127.0.0.1:4321/api", settings)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)

    server = PrefectSettings().server

    assert server.services.db_vacuum.enabled_vacuum_types == vacuumed
    assert server.events.retention_period == timedelta(days=2)
    if kept is not None:
        assert server.services.db_vacuum.retention_period == timedelta(days=kept)


def test_the_worker_gets_the_home_and_the_way_into_the_server(home: Home) -> None:
    environment = worker_environment(home, "https://prefect/api", {"PREFECT_API_KEY": "k"})

    assert environment["INSTANCES_HOME"] == str(home.path)
    assert environment["PREFECT_API_URL"] == "https://prefect/api"
    assert environment["PREFECT_API_KEY"] == "k"


def test_workers_of_two_homes_have_different_names(tmp_path: Path) -> None:
    names = {worker.worker_name(Home(tmp_path / name / "home")) for name in ("a", "b")}

    assert len(names) == 2


def test_an_asked_port_that_is_taken_is_refused(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind((web.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(web.PortInUse) as raised:
            server.launch(home, load_settings(home=home.path), port)

    assert raised.value.port == port
    assert processes.alive(home, server.ROLE) is None


def test_pages_are_at_the_port_of_last_time_and_links_lead_there_while_they_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = "from http.server import SimpleHTTPRequestHandler, test\ntest(SimpleHTTPRequestHandler"

    def command(_: Path, port: int) -> list[str]:
        return ["-c", f"{serve}, port={port}, bind='{web.HOST}')"]

    kind = replace(pages.KINDS["mlflow"], probe="/", command=command)
    monkeypatch.setitem(pages.KINDS, "mlflow", kind)
    urls = set()
    for _ in range(2):
        pages.launch(home, load_settings(home=home.path), kind)
        assert pages.select_kinds(home, ()) == [kind]
        urls.add(pages.wait(home, kind))
        assert load_settings(home=home.path).mlflow_ui_url in urls
        stack.down(load_settings(home=home.path), lambda _: None)
        assert load_settings(home=home.path).mlflow_ui_url == ""
        assert pages.select_kinds(home, ()) == []
    assert len(urls) == 1


def test_an_asked_port_of_pages_that_is_taken_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind((web.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("INSTANCES_EVIDENTLY_PORT", str(port))

        with pytest.raises(web.PortInUse, match="INSTANCES_EVIDENTLY_PORT"):
            pages.launch(home, load_settings(home=home.path), pages.KINDS["evidently"])

    assert processes.alive(home, "evidently") is None


def test_pages_that_end_while_they_start_are_told_with_their_last_words(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = replace(
        pages.KINDS["evidently"], command=lambda _, __: ["-c", "import sys; sys.exit('no room')"]
    )
    pages.launch(home, load_settings(home=home.path), kind)

    with pytest.raises(Unavailable, match=r"Evidently's server.*no room"):
        pages.wait(home, kind)


def test_the_server_that_prefect_names_is_taken_with_its_credentials(home: Home) -> None:
    from prefect.settings import PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

    settings = load_settings(home=home.path)
    with temporary_settings({PREFECT_API_URL: "https://prefect/api", PREFECT_API_KEY: "k"}):
        found = server.configured_server(settings)

    assert found is not None
    assert (found.api_url, found.ui_url, found.embedded) == (
        "https://prefect/api",
        "https://prefect",
        False,
    )
    assert found.access["PREFECT_API_KEY"] == "k"
    assert "'k'" not in repr(found)


def test_the_address_of_the_homes_own_server_is_no_foreign_one(home: Home) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    settings = load_settings(home=home.path, port=4321)
    with temporary_settings({PREFECT_API_URL: server.embedded_url(4321)}):
        assert server.configured_server(settings) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h:5/d", None),
        ("postgresql+psycopg://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_an_address_is_read_as_the_driver_that_is_installed(text: str, url: str | None) -> None:
    expected = make_url(url) if url else make_url("postgresql+psycopg://u:p@h:5/d")

    assert database.read_url(text) == expected


def test_a_relative_database_file_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert database.read_url("sqlite:///x.db").database == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    "text", ["", "x", "mysql://u:p@h/d", "sqlite://", "postgresql://h/d?password=p"]
)
def test_an_address_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(database.UnusableDatabase):
        database.read_url(text)


def test_a_schema_is_checked_once_and_what_breaks_it_is_refused_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validator: Any = validation._VALIDATOR
    really, asked = validator.check_schema, []

    def check(schema: dict[str, object], format_checker: object = None) -> None:
        asked.append(schema)
        really(schema, format_checker=format_checker)

    monkeypatch.setattr(validator, "check_schema", check)
    assert apply_patches([SCHEMAS]) == [SCHEMAS.name]
    sound = {"type": "object", "properties": {"image": {"type": "string"}}}

    for image in ("one", "two", "three"):
        validation.validate({"image": image}, sound, raise_on_error=True, preprocess=False)
    assert asked == [sound]
    with pytest.raises(validation.ValidationError, match="image"):
        validation.validate({"image": 1}, sound, raise_on_error=True, preprocess=False)
    for _ in range(2):
        with pytest.raises(ValueError, match="Invalid schema"):
            validation.is_valid_schema({"type": "no type"})
