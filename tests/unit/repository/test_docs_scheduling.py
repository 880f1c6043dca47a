"""The documentation of schedules says what the code computes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from prefect_instances.libs.specs import ScheduleSpec, native_zone, slots

PAGE = Path(__file__).parents[3] / "docs" / "scheduling.md"
AFTER = datetime(2026, 11, 24, 12, tzinfo=UTC)
FORM = re.compile(r"```yaml\nschedule: (.*?)\n```\n\n```text\n(.*?)\n```", re.DOTALL)
FORMS = FORM.findall(PAGE.read_text())


@pytest.mark.parametrize(("written", "shown"), FORMS, ids=[form[0] for form in FORMS])
def test_the_next_five_slots_are_those_that_the_page_shows(written: str, shown: str) -> None:
    schedule = ScheduleSpec.model_validate(yaml.safe_load(written))
    zone = ZoneInfo(native_zone(schedule))
    found = [slot.astimezone(zone) for slot in slots(schedule, AFTER, 5)]
    assert shown.splitlines() == [f"{slot:%a %Y-%m-%d %H:%M %z}" for slot in found] or not found
    assert (shown == "none") is not bool(found)


def test_the_page_shows_every_form_and_names_every_key() -> None:
    shown = [ScheduleSpec.model_validate(yaml.safe_load(written)) for written, _ in FORMS]
    assert {schedule.type for schedule in shown} == {"cron", "interval", "manual"}
    assert any(schedule.window_start > schedule.window_end for schedule in shown)
    assert {"@close+30", "@open-15"} <= {schedule.expression for schedule in shown}
    page = PAGE.read_text()
    assert [key for key in ScheduleSpec.model_fields if key not in page] == []
    assert f"{AFTER:%Y-%m-%d %H:%M} UTC" in page
