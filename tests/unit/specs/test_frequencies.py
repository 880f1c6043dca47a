"""How new data must be at a slot, for each frequency of a source."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from prefect_instances.libs.specs import ScheduleSpec, expected_data_date, frequency_fault

NYSE = ScheduleSpec(
    type="cron", expression="0 18 * * *", timezone="America/New_York", calendar="XNYS"
)
MORNING = ScheduleSpec(type="cron", expression="0 6 * * *", timezone="America/New_York")


@pytest.mark.parametrize(
    ("frequency", "schedule", "slot", "expected"),
    [
        pytest.param("daily", MORNING, "2026-11-24 06:00-05:00", "2026-11-23", id="yesterday"),
        pytest.param("daily", MORNING, "2026-11-23 06:00-05:00", "2026-11-20", id="over-weekend"),
        pytest.param("daily", MORNING, "2026-11-22 06:00-05:00", "2026-11-20", id="on-a-sunday"),
        pytest.param("daily", MORNING, "2026-11-27 06:00-05:00", "2026-11-26", id="no-calendar"),
        pytest.param("daily", MORNING, "2026-11-24 03:00+00:00", "2026-11-20", id="local-day"),
        pytest.param("daily", NYSE, "2026-11-24 18:00-05:00", "2026-11-24", id="after-the-close"),
        pytest.param("daily", NYSE, "2026-11-24 15:59-05:00", "2026-11-23", id="before-the-close"),
        pytest.param("daily", NYSE, "2026-11-26 18:00-05:00", "2026-11-25", id="thanksgiving"),
        pytest.param("daily", NYSE, "2026-11-27 13:00-05:00", "2026-11-27", id="early-close"),
        pytest.param("daily", NYSE, "2026-11-27 12:59-05:00", "2026-11-25", id="earlier-still"),
        pytest.param("weekly", MORNING, "2026-11-27 06:00-05:00", "2026-11-20", id="friday-early"),
        pytest.param("weekly", MORNING, "2026-11-28 06:00-05:00", "2026-11-27", id="saturday"),
        pytest.param("weekly:WED", MORNING, "2026-11-26 06:00-05:00", "2026-11-25", id="wednesday"),
        pytest.param("weekly:wed", MORNING, "2026-11-25 06:00-05:00", "2026-11-18", id="on-it"),
        pytest.param("weekly", NYSE, "2026-04-04 06:00-04:00", "2026-04-02", id="good-friday"),
        pytest.param("weekly:THU", NYSE, "2026-11-26 18:00-05:00", "2026-11-25", id="on-holiday"),
        pytest.param("monthly", MORNING, "2026-12-01 06:00-05:00", "2026-11-30", id="month-end"),
        pytest.param("monthly", MORNING, "2026-11-30 06:00-05:00", "2026-10-30", id="last-day"),
        pytest.param("monthly", NYSE, "2026-05-29 18:00-04:00", "2026-05-29", id="session-month"),
        pytest.param("monthly", NYSE, "2026-05-29 15:00-04:00", "2026-04-30", id="not-closed-yet"),
        pytest.param("quarterly", MORNING, "2026-11-24 06:00-05:00", "2026-09-30", id="quarter"),
        pytest.param("quarterly", NYSE, "2027-01-04 06:00-05:00", "2026-12-31", id="year-end"),
        pytest.param("irregular", NYSE, "2026-11-24 18:00-05:00", None, id="irregular"),
    ],
)
def test_the_newest_date_that_a_source_owes(
    frequency: str, schedule: ScheduleSpec, slot: str, expected: str | None
) -> None:
    moment = datetime.fromisoformat(slot).astimezone(UTC)
    found = expected_data_date(frequency, schedule, moment)
    assert found == (date.fromisoformat(expected) if expected else None)


@pytest.mark.parametrize("frequency", ["hourly", "", "weekly:FUN", "daily:MON", "Daily"])
def test_an_unknown_frequency_is_refused(frequency: str) -> None:
    assert frequency_fault(frequency)
    with pytest.raises(ValueError, match=r"not one of|only weekly"):
        expected_data_date(frequency, NYSE, datetime(2026, 1, 1, tzinfo=UTC))
