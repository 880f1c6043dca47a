"""List the holidays of an exchange once in each test process, and not for each span of years.

exchange-calendars lists the holidays of two centuries for every calendar that it makes, whatever
span is asked for: three quarters of the CPU that a calendar takes. They depend on the exchange.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from prefect_instances.libs.specs.timing import sessions

_import = sessions._library


@cache
def import_and_share() -> Any:
    """Import the library, and let all calendars of an exchange have the holidays of the first."""
    library = _import()
    list_days = library.ExchangeCalendar.day.func
    days: dict[type, Any] = {}

    def day(calendar: Any) -> Any:
        kind = type(calendar)
        if kind not in days:
            days[kind] = list_days(calendar)
        return days[kind]

    library.ExchangeCalendar.day = property(day)
    return library


def share_holidays() -> None:
    """Do so when the product first asks for a calendar; a test of other things imports nothing."""
    sessions._library = import_and_share
