"""A malformed document is refused with all of its problems, each at the path that was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import parse_spec

RECURSIVE: dict[str, Any] = {}
RECURSIVE["itself"] = RECURSIVE


@dataclass(frozen=True)
class Case:
    """A valid document with ``changes`` has problems at exactly ``paths``."""

    name: str
    paths: set[str]
    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    base: str = "SignalInstance"


def schedule(**fields: Any) -> dict[str, Any]:
    return {"schedule": fields}


def cron(expression: str, **fields: Any) -> dict[str, Any]:
    return schedule(type="cron", expression=expression, **fields)


def interval(minutes: Any = 30, **fields: Any) -> dict[str, Any]:
    return schedule(type="interval", minutes=minutes, **fields)


def config(value: Any) -> dict[str, Any]:
    return {"pipeline": {"definition": "file", "config": value}}


def refs(*items: Any) -> dict[str, Any]:
    return {"upstream_refs": list(items)}


def signal(**fields: Any) -> dict[str, Any]:
    return {"signal": fields}


NAMES = [
    Case("name is missing", {"name"}, without=("name",)),
    Case("name is empty", {"name"}, {"name": ""}),
    Case("name has a space", {"name"}, {"name": "my signal"}),
    Case("name begins with a digit", {"name"}, {"name": "12m_momentum"}),
    Case("name has a dash", {"name"}, {"name": "my-signal"}),
    Case("name has two underscores together", {"name"}, {"name": "my__signal"}),
    Case("name ends with an underscore", {"name"}, {"name": "signal_"}),
    Case("name is too long", {"name"}, {"name": "a" * 64}),
    Case("name has an umlaut", {"name"}, {"name": "größe"}),
    Case("name is a number", {"name"}, {"name": 7}),
    Case("name is a list", {"name"}, {"name": ["a"]}),
    Case("project has a dot", {"project"}, {"project": "my.project"}),
    Case("description holds a NUL", {"description"}, {"description": "a\x00b"}),
    Case("description is half a surrogate pair", {"description"}, {"description": "\ud800"}),
    Case("description is a mapping", {"description"}, {"description": {"a": 1}}),
    Case("run_on_provision is a word", {"run_on_provision"}, {"run_on_provision": "perhaps"}),
]

TYPES = [
    Case("type is missing", {"type"}, without=("type",)),
    Case("type is unknown", {"type"}, {"type": "Ledger"}),
    Case("type is a number", {"type"}, {"type": 3}),
    Case(
        "type is misspelt, and more is wrong",
        {"type", "name"},
        {"type": "SignalInstanc", "name": 1},
    ),
    Case(
        "type is misspelt inside the wrapper",
        {"type"},
        {"metadata_json": {"type": "Sgnal"}},
        ("type",),
    ),
    Case("a dataset has a signal contract", {"signal"}, {"signal": {}}, base="DatasetInstance"),
]

COMPONENTS = [
    Case("pipeline is missing", {"pipeline"}, without=("pipeline",)),
    Case("pipeline is a list", {"pipeline"}, {"pipeline": ["file"]}),
    Case("pipeline names nothing", {"pipeline.definition"}, {"pipeline": {}}),
    Case("definition has a space", {"pipeline.definition"}, {"pipeline": {"definition": "my def"}}),
    Case("definition is a number", {"pipeline.definition"}, {"pipeline": {"definition": 5}}),
    Case(
        "version is a number",
        {"pipeline.version"},
        {"pipeline": {"definition": "file", "version": 1.0}},
    ),
    Case(
        "component key is unknown",
        {"pipeline.verison"},
        {"pipeline": {"definition": "file", "verison": "1.0"}},
    ),
    Case(
        "shared component with a definition and a configuration",
        {"store.definition", "store.config"},
        {"store": {"instance": "s", "definition": "parquet", "config": {"a": 1}}},
    ),
    Case(
        "shared component with a version",
        {"store.version"},
        {"store": {"instance": "s", "version": "1"}},
    ),
    Case("shared component of another project", {"store.instance"}, {"store": {"instance": "p/s"}}),
    Case("shared component in no role", {"store.instance"}, {"store": {"instance": "s.shop"}}),
    Case("store is a number", {"store"}, {"store": 3}),
    Case("config is text", {"pipeline.config"}, config("a=1")),
    Case("config is a list", {"pipeline.config"}, config([1])),
    Case("config holds NaN", {"pipeline.config.x[1]"}, config({"x": [1.0, float("nan")]})),
    Case("config holds infinity", {"pipeline.config.x"}, config({"x": float("inf")})),
    Case("config holds a set", {"pipeline.config.x"}, config({"x": {1, 2}})),
    Case("config holds bytes", {"pipeline.config.x"}, config({"x": b"a"})),
    Case("config has a key that is no text", {"pipeline.config.x['1']"}, config({"x": {1: 2}})),
    Case("config has a NUL in a key", {"pipeline.config"}, config({"a\x00": 1})),
    Case("config contains itself", {"pipeline.config.itself"}, config(RECURSIVE)),
    Case(
        "alias contradicts the short name",
        {"pipeline.definition_resource_id"},
        {"pipeline": {"definition": "file", "definition_resource_id": "sql"}},
    ),
    Case(
        "top level contradicts the pipeline",
        {"definition_resource_id"},
        {"pipeline": {"definition": "file"}, "definition_resource_id": "sql"},
    ),
    Case(
        "two top-level spellings contradict each other",
        {"config_json"},
        {"config": {"a": 1}, "config_json": {"a": 2}},
    ),
    Case(
        "wrapper contradicts the top level",
        {"metadata_json.name"},
        {"metadata_json": {"name": "other"}},
    ),
    Case("wrapper is a list", {"metadata_json"}, {"metadata_json": [1]}),
    Case(
        "wrapper in the wrapper",
        {"metadata_json.metadata_json"},
        {"metadata_json": {"metadata_json": {}}},
    ),
]

UPSTREAMS = [
    Case("upstream_refs is a mapping", {"upstream_refs"}, {"upstream_refs": {"resource": "a"}}),
    Case("upstream is a number", {"upstream_refs[0]"}, refs(3)),
    Case("upstream names nothing", {"upstream_refs[0].resource"}, refs({"role": "input"})),
    Case("upstream has three parts", {"upstream_refs[0].resource"}, refs("a/b/c")),
    Case("upstream is half a uuid", {"upstream_refs[0].resource"}, refs("12345678-1234")),
    Case(
        "role has a space", {"upstream_refs[0].role"}, refs({"resource": "a", "role": "my input"})
    ),
    Case(
        "require is unknown",
        {"upstream_refs[0].require"},
        refs({"resource": "a", "require": "fresh"}),
    ),
    Case(
        "triggers is a word",
        {"upstream_refs[0].triggers"},
        refs({"resource": "a", "triggers": "often"}),
    ),
    Case("flow is no name", {"upstream_refs[0].flow"}, refs({"resource": "a", "flow": "re fresh"})),
    Case(
        "key of an upstream is unknown",
        {"upstream_refs[1].rol"},
        refs("a", {"resource": "b", "rol": "x"}),
    ),
    Case("refers to itself", {"upstream_refs[0].resource"}, refs("MOMENTUM")),
    Case(
        "refers to itself by project",
        {"upstream_refs[0].resource_id"},
        refs({"resource_id": "demo/momentum"}),
    ),
    Case(
        "repeats an upstream",
        {"upstream_refs[2]"},
        refs("a", "b", {"resource": "demo/A", "role": "input"}),
    ),
    Case(
        "two upstreams are wrong, each in its own way",
        {"upstream_refs[0].resource", "upstream_refs[1].role", "upstream_refs[1].require"},
        refs("no good", {"resource": "a", "role": "", "require": 1}),
    ),
]

SCHEDULES = [
    Case("schedule is text", {"schedule"}, {"schedule": "0 6 * * *"}),
    Case("schedule type is unknown", {"schedule.type"}, schedule(type="daily")),
    Case("schedule key is unknown", {"schedule.cron"}, schedule(type="manual", cron="0 6 * * *")),
    Case("cron without expression", {"schedule.expression"}, schedule(type="cron")),
    Case("expression without type", {"schedule.expression"}, schedule(expression="0 6 * * *")),
    Case("minutes without type", {"schedule.minutes"}, schedule(minutes=5)),
    Case("cron with four fields", {"schedule.expression"}, cron("0 6 * *")),
    Case("cron with seconds", {"schedule.expression"}, cron("0 0 6 * * *")),
    Case("cron by nickname", {"schedule.expression"}, cron("@daily")),
    Case("cron minute out of range", {"schedule.expression"}, cron("60 6 * * *")),
    Case("cron weekday out of range", {"schedule.expression"}, cron("0 6 * * 8")),
    Case("cron range backwards", {"schedule.expression"}, cron("0 6 * * SAT-SUN")),
    Case("cron step of zero", {"schedule.expression"}, cron("*/0 * * * *")),
    Case("cron with a huge number", {"schedule.expression"}, cron("9" * 5000 + " 6 * * *")),
    Case("cron in words", {"schedule.expression"}, cron("every day at six am")),
    Case("cron for the 31st of February", {"schedule.expression"}, cron("0 0 31 2 *")),
    Case("cron for the 31st of April or a Friday", {"schedule.expression"}, cron("0 0 31 4 5")),
    Case("cron that crons read differently", {"schedule.expression"}, cron("0 0 */2 * 1")),
    Case("cron form that Prefect does not know", {"schedule.expression"}, cron("0 0 LW * *")),
    Case(
        "cron that never meets a session",
        {"schedule.expression"},
        cron("0 6 * * 6", calendar="XNYS"),
    ),
    Case(
        "cron on new year's day of an exchange",
        {"schedule.expression"},
        cron("0 6 1 1 *", calendar="XNYS"),
    ),
    Case("cron with minutes", {"schedule.minutes"}, cron("0 6 * * *", minutes=5)),
    Case(
        "cron with a window",
        {"schedule.window_start", "schedule.window_end"},
        cron("0 6 * * *", window_start="09:00", window_end="10:00"),
    ),
    Case("interval without minutes", {"schedule.minutes"}, schedule(type="interval")),
    Case("interval of zero", {"schedule.minutes"}, interval(0)),
    Case("interval below zero", {"schedule.minutes"}, interval(-5)),
    Case("interval of half a minute", {"schedule.minutes"}, interval(0.5)),
    Case("interval of true", {"schedule.minutes"}, interval(True)),
    Case("interval of a word", {"schedule.minutes"}, interval("often")),
    Case("interval beyond a year", {"schedule.minutes"}, interval(10**9)),
    Case("interval with an expression", {"schedule.expression"}, interval(expression="0 6 * * *")),
    Case("window without an end", {"schedule.window_end"}, interval(window_start="09:30")),
    Case("window without a start", {"schedule.window_start"}, interval(window_end="16:00")),
    Case(
        "window that ends as it starts",
        {"schedule.window_end"},
        interval(window_start="09:30", window_end="9:30"),
    ),
    Case(
        "window at no time of day",
        {"schedule.window_start", "schedule.window_end"},
        interval(window_start="25:00", window_end="9.30"),
    ),
    Case("manual with a calendar", {"schedule.calendar"}, schedule(type="manual", calendar="XNYS")),
    Case("time zone is unknown", {"schedule.timezone"}, cron("0 6 * * *", timezone="New York")),
    Case("time zone is a path", {"schedule.timezone"}, cron("0 6 * * *", timezone="../etc/passwd")),
    Case("time zone is empty", {"schedule.timezone"}, cron("0 6 * * *", timezone="")),
    Case("time zone is an offset", {"schedule.timezone"}, cron("0 6 * * *", timezone="+02:00")),
    Case("calendar is unknown", {"schedule.calendar"}, cron("0 6 * * *", calendar="NASD")),
    Case("grace is negative", {"schedule.grace_minutes"}, schedule(grace_minutes=-1)),
    Case("grace is text", {"schedule.grace_minutes"}, schedule(grace_minutes="two hours")),
    Case("enabled is a number", {"schedule.enabled"}, schedule(enabled=7)),
    Case("retries are negative", {"schedule.max_retries"}, schedule(max_retries=-1)),
    Case("back-off is unknown", {"schedule.backoff"}, schedule(backoff="exponentail")),
    Case("back-off of days", {"schedule.backoff_seconds"}, schedule(backoff_seconds=10**6)),
    Case(
        "everything in a schedule is wrong",
        {
            f"schedule.{name}"
            for name in ("expression", "timezone", "calendar", "minutes", "backoff")
        },
        cron("a b", timezone="x", calendar="y", minutes=1, backoff="z"),
    ),
    Case(
        "a bad type hides no other fault",
        {"schedule.type", "schedule.timezone"},
        schedule(type="hourly", timezone="Mars/Olympus"),
    ),
]

SIGNALS = [
    Case("contract is text", {"signal"}, {"signal": "bounded"}),
    Case("bound is text", {"signal.min_value"}, signal(min_value="low")),
    Case("bound is true", {"signal.max_value"}, signal(max_value=True)),
    Case("bound is infinite", {"signal.max_value"}, signal(max_value=float("inf"))),
    Case("bounds are swapped", {"signal.max_value"}, signal(min_value=1, max_value=-1)),
    Case(
        "neutral value below the bounds",
        {"signal.neutral_value"},
        signal(min_value=1, neutral_value=0),
    ),
    Case(
        "neutral value above the bounds",
        {"signal.neutral_value"},
        signal(max_value=-1, neutral_value=0),
    ),
    Case("allow_nan is a word", {"signal.allow_nan"}, signal(allow_nan="some")),
    Case("no index column", {"signal.index_columns"}, signal(index_columns=[])),
    Case("index column twice", {"signal.index_columns"}, signal(index_columns=["date", "date"])),
    Case(
        "index column without a name", {"signal.index_columns"}, signal(index_columns=["date", " "])
    ),
    Case("index columns are text", {"signal.index_columns"}, signal(index_columns="date")),
    Case("contract key is unknown", {"signal.minimum"}, signal(minimum=1)),
]

KEYS = [
    Case("key is misspelt", {"upstream_ref"}, {"upstream_ref": []}),
    Case("key is of no kind", {"zzz"}, {"zzz": 1}),
    Case("key is a number", {"['1']"}, {1: 2}),  # type: ignore[dict-item]  # what YAML can hold
    Case(
        "faults of every part are reported together",
        {
            "name",
            "pipelin",
            "pipeline",
            "schedule.timezone",
            "signal.max_value",
            "upstream_refs[0].role",
        },
        {
            "name": "not legal",
            "pipelin": {},
            "schedule": {"timezone": "x"},
            "signal": {"min_value": 1, "max_value": 0},
            "upstream_refs": [{"resource": "a", "role": "b c"}],
        },
        ("pipeline",),
    ),
    Case(
        "paths follow the keys that were written",
        {
            "metadata_json.schedule_json.timezone",
            "metadata_json.config_json.x",
            "metadata_json.upstream_refs[0].resource_id",
        },
        {
            "metadata_json": {
                "definition_resource_id": "file",
                "config_json": {"x": float("nan")},
                "schedule_json": {"timezone": "x"},
                "upstream_refs": [{"resource_id": "a b"}],
            }
        },
        ("pipeline",),
    ),
]

CASES = [*NAMES, *TYPES, *COMPONENTS, *UPSTREAMS, *SCHEDULES, *SIGNALS, *KEYS]


def document_of(case: Case) -> dict[str, Any]:
    valid = {
        "name": "momentum",
        "project": "demo",
        "type": case.base,
        "pipeline": {"definition": "file"},
    }
    kept = {key: value for key, value in valid.items() if key not in case.without}
    return {**kept, **case.changes}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_spec_is_refused_with_every_problem(case: Case) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(document_of(case))
    assert {problem.path for problem in caught.value.problems} == case.paths


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_message_is_a_short_sentence_in_our_own_words(case: Case) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(document_of(case))
    for problem in caught.value.problems:
        assert 0 < len(problem.message) < 400
        assert not any(
            word in problem.message for word in ("Input should", "pydantic", "Traceback")
        )


@pytest.mark.parametrize("document", [None, 3, "text", [], [{"name": "a"}]])
def test_what_is_no_mapping_is_no_spec(document: Any) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(document, "instances[4]")
    assert [problem.path for problem in caught.value.problems] == ["instances[4]"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [("pipelin", "'pipeline'"), ("schedule_jsn", "'schedule_json'"), ("Project", "'project'")],
)
def test_a_misspelt_key_comes_with_the_word_that_was_meant(key: str, hint: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec({"name": "a", "type": "DatasetInstance", "pipeline": "file", key: {}})
    assert hint in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("New York", "America/New_York"),
        ("london", "Europe/London"),
        ("Amercia/New_York", "America/New_York"),
    ],
)
def test_a_time_zone_that_is_nearly_right_comes_with_the_right_one(zone: str, hint: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(
            {
                "name": "a",
                "type": "DatasetInstance",
                "pipeline": "file",
                "schedule": {"timezone": zone},
            }
        )
    assert hint in caught.value.problems[0].message


def test_a_secret_in_the_wrong_field_is_not_repeated_in_the_error() -> None:
    secret = "postgresql://reader:hunter2@db/prices"
    document = {
        "name": "a",
        "type": "DatasetInstance",
        "pipeline": {"definition": "sql", "config": secret},
    }
    with pytest.raises(InvalidSpec) as caught:
        parse_spec({**document, "store": secret.encode(), "upstream_refs": secret})
    assert "hunter2" not in str(caught.value)
    assert len(caught.value.problems) == 3
