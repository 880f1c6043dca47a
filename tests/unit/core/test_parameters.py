"""What the parameters of a run mean: which days it reads, and whether it serves a slot."""

from __future__ import annotations

from datetime import date

import pytest

from prefect_instances.libs.core.records import Mode, RunParameters

MONDAY, FRIDAY, SATURDAY = date(2022, 1, 3), date(2022, 1, 7), date(2022, 1, 8)


@pytest.mark.parametrize(
    ("parameters", "past"),
    [
        (RunParameters(), False),
        (RunParameters(start=MONDAY), False),
        (RunParameters(as_of=FRIDAY), True),
        (RunParameters(start=MONDAY, end=FRIDAY), True),
    ],
)
def test_a_run_up_to_a_given_day_is_about_the_past(parameters: RunParameters, past: bool) -> None:
    assert parameters.about_the_past is past


@pytest.mark.parametrize(
    ("parameters", "end", "covers"),
    [
        (RunParameters(mode=Mode.FULL, as_of=FRIDAY), FRIDAY, True),
        (RunParameters(mode=Mode.FULL, as_of=FRIDAY), SATURDAY, False),
        (RunParameters(start=MONDAY, end=FRIDAY), FRIDAY, True),
        (RunParameters(start=MONDAY, end=FRIDAY), SATURDAY, False),
        (RunParameters(start=MONDAY), SATURDAY, True),
        (RunParameters(start=FRIDAY), SATURDAY, False),
        (RunParameters(), FRIDAY, False),
    ],
)
def test_a_run_covers_the_days_that_it_reads_again(
    parameters: RunParameters, end: date, covers: bool
) -> None:
    assert parameters.covers(MONDAY, end) is covers
