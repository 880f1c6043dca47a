"""From our schedules to Prefect's, and the difference between a plan and what is deployed."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_instances.libs.adapters.prefect import DeploymentPlan, Every
from prefect_instances.libs.adapters.prefect.deployments import (
    SCHEDULE_OFF,
    build_schedule_requests,
    differences,
)
from prefect_instances.libs.adapters.prefect.pools import complete_template
from prefect_instances.libs.adapters.prefect.schedules import (
    build_native_schedules,
    is_ours,
    is_same_schedule,
)
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.specs import ScheduleSpec

SCHEMA = {"title": "Parameters", "type": "object", "properties": {}}


def plan(schedule: ScheduleSpec | Every | None = None, **changes: Any) -> DeploymentPlan:
    values = {
        "flow_name": "refresh-dataset",
        "name": "demo.a",
        "entrypoint": "prefect_instances.flows.refresh_dataset.refresh_dataset",
        "parameter_schema": SCHEMA,
    }
    return DeploymentPlan(**{**values, "schedule": schedule, **changes})  # type: ignore[arg-type]


def cron(expression: str = "0 6 * * *", **changes: Any) -> ScheduleSpec:
    return ScheduleSpec(type="cron", expression=expression, **changes)


def deployed(source: DeploymentPlan, *, active: bool = True, **changes: Any) -> dict[str, Any]:
    """The server's document of a deployment that was made from ``source``."""
    schedules = [
        {"id": f"id-{slug}", "slug": slug, "active": active, "schedule": schedule}
        for slug, schedule in build_native_schedules(source.schedule).items()
    ]
    document = {
        "entrypoint": source.entrypoint,
        "parameters": dict(source.parameters),
        "tags": list(source.tags),
        "description": source.description or None,
        "work_pool_name": source.work_pool,
        "job_variables": dict(source.job_variables),
        "global_concurrency_limit": None,
        "concurrency_limit": None,
        "parameter_openapi_schema": dict(source.parameter_schema),
        "enforce_parameter_schema": True,
        "pull_steps": [],
        "version": None,
        "schedules": schedules,
    }
    return {**document, **changes}


def test_a_cron_schedule_keeps_its_expression_and_zone() -> None:
    native = build_native_schedules(cron("30 7 * * 1-5", timezone="Europe/Berlin"))
    expected = {"cron": "30 7 * * 1-5", "timezone": "Europe/Berlin", "day_or": True}
    assert native == {"instances": expected}


def test_an_interval_counts_elapsed_time_from_a_fixed_moment() -> None:
    native = build_native_schedules(
        ScheduleSpec(type="interval", minutes=90, timezone="Asia/Tokyo")
    )
    assert native["instances"]["interval"] == 5400
    assert native["instances"]["timezone"] == "UTC"
    assert native["instances"]["anchor_date"] == "2020-01-01T00:00:00+00:00"


def test_a_daily_window_becomes_several_schedules_with_slugs_of_their_own() -> None:
    window = ScheduleSpec(
        type="interval", minutes=30, window_start="09:30", window_end="16:00", timezone="Asia/Tokyo"
    )
    native = build_native_schedules(window)
    assert len(native) > 1
    assert next(iter(native)) == "instances"
    assert all(is_ours(slug) for slug in native)
    assert all(document["timezone"] == "Asia/Tokyo" for document in native.values())


@pytest.mark.parametrize("schedule", [None, ScheduleSpec()])
def test_a_manual_schedule_fires_nothing(schedule: ScheduleSpec | None) -> None:
    assert build_native_schedules(schedule) == {}


@pytest.mark.parametrize(("slug", "ours"), [("instances", True), ("instances-3", True)])
def test_our_slugs_are_known(slug: str, ours: bool) -> None:
    assert is_ours(slug) is ours


@pytest.mark.parametrize("slug", [None, "", "mine", "instancesx"])
def test_other_slugs_are_a_persons(slug: str | None) -> None:
    assert not is_ours(slug)


def test_two_notations_of_one_interval_are_the_same() -> None:
    ours = build_native_schedules(Every(60))["instances"]
    theirs = {"interval": 60.0, "anchor_date": "2020-01-01T00:00:00Z", "timezone": "UTC"}
    assert is_same_schedule(ours, theirs)
    assert not is_same_schedule(ours, {**theirs, "interval": 61.0})
    assert not is_same_schedule(ours, {**theirs, "anchor_date": "2021-01-01T00:00:00Z"})


def test_a_plan_that_is_deployed_differs_in_nothing() -> None:
    source = plan(cron(), tags=("b", "a"), parameters={"n": 1}, description="text")
    assert differences(source, deployed(source)) == {}
    assert build_schedule_requests(source, deployed(source)) == []


def test_only_what_differs_is_written() -> None:
    current = deployed(plan(tags=("a",), parameters={"n": 1}))
    assert differences(plan(tags=("a",), parameters={"n": 2}), current) == {"parameters": {"n": 2}}


def test_a_concurrency_limit_is_written_where_the_plan_has_one() -> None:
    current = deployed(plan(), global_concurrency_limit={"limit": 1})
    assert differences(plan(concurrency_limit=1), current) == {}
    assert differences(plan(concurrency_limit=2), current) == {"concurrency_limit": 2}
    assert differences(plan(), current) == {}


def test_the_version_that_prefect_deploy_writes_is_no_difference() -> None:
    assert differences(plan(cron()), deployed(plan(cron()), version="f00ba4")) == {}


def test_a_schedule_that_a_person_switched_off_stays_off() -> None:
    current = deployed(plan(cron()), active=False)
    assert build_schedule_requests(plan(cron()), current) == []
    moved = build_schedule_requests(plan(cron("5 6 * * *")), current)
    assert [(method, set(body)) for method, _, body in moved] == [("PATCH", {"schedule"})]


def test_a_schedule_that_a_person_switched_on_stays_on() -> None:
    disabled = plan(cron(enabled=False))
    current = deployed(disabled, active=True, version=SCHEDULE_OFF)
    assert build_schedule_requests(disabled, current) == []


def test_a_specification_that_changes_its_mind_wins_over_the_switch() -> None:
    on, off = plan(cron()), plan(cron(enabled=False))
    was_off = deployed(off, active=False, version=SCHEDULE_OFF)
    assert build_schedule_requests(on, was_off) == [("PATCH", "/id-instances", {"active": True})]
    assert build_schedule_requests(off, deployed(on)) == [
        ("PATCH", "/id-instances", {"active": False})
    ]
    assert differences(off, deployed(on)) == {"version": SCHEDULE_OFF}
    assert differences(on, was_off) == {"version": None}


def test_a_schedule_of_a_persons_own_is_left_alone() -> None:
    own = {"id": "own", "slug": None, "active": True, "schedule": {"cron": "0 0 * * *"}}
    current = deployed(plan(), schedules=[own])
    assert build_schedule_requests(plan(), current) == []
    assert [method for method, _, _ in build_schedule_requests(plan(cron()), current)] == ["POST"]


def test_a_schedule_that_the_specification_drops_is_deleted() -> None:
    current = deployed(plan(cron()))
    assert build_schedule_requests(plan(), current) == [("DELETE", "/id-instances", None)]


@pytest.mark.parametrize("active", [True, False])
def test_one_more_schedule_is_as_loud_as_the_others(active: bool) -> None:
    narrow = ScheduleSpec(type="interval", minutes=60, window_start="09:00", window_end="10:00")
    wide = ScheduleSpec(type="interval", minutes=45, window_start="09:00", window_end="15:00")
    requests = build_schedule_requests(plan(wide), deployed(plan(narrow), active=active))
    added = [body[0]["active"] for method, _, body in requests if method == "POST"]  # type: ignore[index]
    assert added
    assert set(added) == {active}


@pytest.mark.parametrize("name", ["a/b", "a%b", "a&b", "a>b"])
def test_a_name_that_prefect_cannot_take_is_refused_at_construction(name: str) -> None:
    with pytest.raises(PermanentError):
        plan(name=name)


@pytest.mark.parametrize("entrypoint", ["flows/refresh.py:refresh", "refresh"])
def test_an_entrypoint_in_path_form_is_refused_at_construction(entrypoint: str) -> None:
    with pytest.raises(PermanentError):
        plan(entrypoint=entrypoint)


def test_a_template_is_completed_and_not_overwritten() -> None:
    current = {"a": {"default": None, "title": "theirs"}, "b": 1, "list": []}
    ours = {"a": {"default": "x", "title": "ours"}, "b": 2, "c": 3, "list": [1]}
    expected = {"a": {"default": "x", "title": "theirs"}, "b": 1, "c": 3, "list": []}
    assert complete_template(current, ours) == expected
