"""The timeline of an instance: its slots, what became of them, sessions and holidays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from prefect_instances.cli.commands.timeline import describe_zones, timeline_rows
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.runs.run_context import Work
from prefect_instances.libs.services.state.ledger import RunWish
from prefect_instances.libs.services.views.timeline import timeline
from tests.databases import on_both_databases
from tests.integration.bench import NEXT_DAY, make_bench, prices

pytestmark = on_both_databases

SLOT = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)


def test_a_timeline_has_slots_sessions_and_holidays(
    database: Database, gateway: PrefectGateway, tmp_path: Path
) -> None:
    now = [datetime(2026, 11, 23, 15, tzinfo=UTC)]
    project = f"p{uuid4().hex[:8]}"
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    schedule = {"type": "cron", "expression": "@close+30", "calendar": "XNYS"}
    bench.provision({**prices(project), "schedule": schedule})
    now[0] = SLOT
    bench.execute(Work(bench.instance_id("prices"), uuid4(), None, RunWish(Cause.SCHEDULE), SLOT))
    now[0] = SLOT + timedelta(hours=12)

    document = timeline(database, now[0], "prices", 4)

    (flow,) = document["flows"]
    assert [(day["date"], [slot["state"] for slot in day["slots"]]) for day in flow["days"]] == [
        ("2026-11-23", ["missed"]),
        ("2026-11-24", ["done"]),
        ("2026-11-25", ["coming"]),
        ("2026-11-26", []),
        ("2026-11-27", ["coming"]),
        ("2026-11-28", []),
        ("2026-11-29", []),
    ]
    assert [row[1:] for row in timeline_rows(document)][1:6] == [
        ["Tue 2026-11-24", "09:30-16:00", "16:30 done"],
        ["Wed 2026-11-25 (today)", "09:30-16:00", "16:30 coming"],
        ["Thu 2026-11-26", "holiday", "-"],
        ["Fri 2026-11-27", "09:30-13:00 early close", "13:30 coming"],
        ["Sat 2026-11-28", "weekend", "-"],
    ]
    assert flow["next_due_at"] == "2026-11-25T21:30:00+00:00"


def test_the_slots_of_a_model_are_told_flow_by_flow(
    database: Database, gateway: PrefectGateway, tmp_path: Path
) -> None:
    """On the clock of each, with what lies beyond the days that are asked for."""
    now = [datetime(2026, 11, 25, 2, tzinfo=UTC)]
    project = f"p{uuid4().hex[:8]}"
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    bench.provision(prices(project))
    schedule = {
        "training": {"type": "cron", "expression": "@close+90 monthly", "calendar": "XNYS"},
        "inference": {"type": "cron", "expression": "0 8 * * 6", "timezone": "Asia/Tokyo"},
        "monitoring": {"type": "cron", "expression": "0 8 * * *", "enabled": False},
    }
    model = {"name": "model", "project": project, "type": "ModelInstance", "schedule": schedule}
    model |= {"module": {"definition": "ridge"}}
    model |= {"features": [{"role": "prices", "column": "close"}]}
    bench.provision({**model, "upstream_refs": [{"resource": "prices", "role": "prices"}]})

    near, far = (timeline(database, now[0], "model", days) for days in (5, 7))

    assert timeline_rows(near) == [
        ["inference", "Sat 2026-11-28", "-", "08:00 coming"],
        ["monitoring", "-", "-", "no slots: its schedule is switched off"],
        ["training", "-", "-", "none in these days, the next Tue 2026-12-01 17:30"],
    ]
    assert (
        describe_zones(near) == ": times of inference in Asia/Tokyo, training in America/New_York"
    )
    training = [row[1:] for row in timeline_rows(far) if row[0] == "training"]
    # It is still the evening of the 24th in New York, and the last day is there as a whole.
    assert training[0] == ["Tue 2026-11-24 (today)", "09:30-16:00", "-"]
    assert training[-1] == ["Tue 2026-12-01", "09:30-16:00", "17:30 coming"]


def test_runs_about_the_past_serve_no_slot(
    database: Database, gateway: PrefectGateway, tmp_path: Path
) -> None:
    now = [datetime(2026, 11, 23, 15, tzinfo=UTC)]
    project = f"p{uuid4().hex[:8]}"
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    bench = make_bench(database, gateway, tmp_path, clock=lambda: now[0])
    schedule = {"type": "cron", "expression": "@close+30", "calendar": "XNYS"}
    bench.provision({**prices(project), "schedule": schedule})
    bench.drain()
    now[0] = SLOT
    bench.run("prices", as_of=NEXT_DAY)
    now[0] = SLOT + timedelta(hours=2)

    (flow,) = timeline(database, now[0], "prices", 1)["flows"]

    assert [day["slots"][0]["state"] for day in flow["days"]] == ["missed", "missed", "coming"]
