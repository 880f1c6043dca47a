"""What the functions of Python refuse before they open anything: every problem at once."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions.problems import suggest_closest
from prefect_instances.libs.desk import build_query, tear_sheet

DAY = "must be a date like 2024-01-31"
NAMES = "must be a name or a list of names"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"start": 2021, "end": "2021-13-01"}, {"start": DAY, "end": DAY}),
        ({"columns": 3, "symbols": ["A", 4]}, {"columns": NAMES, "symbols": NAMES}),
        ({"known_at": 5}, {"known_at": "must be a time like 2024-01-31T18:00:00+00:00"}),
        ({"known_at": "2024-01-31"}, {"known_at": "must have a time zone"}),
        (
            {"start": "2024-02-01", "end": "2024-01-01"},
            {"start": "is after the end, 2024-01-01"},
        ),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_together(
    given: dict[str, Any], wanted: dict[str, str]
) -> None:
    with pytest.raises(InvalidSpec) as raised:
        build_query(**given)

    assert {problem.path: problem.message for problem in raised.value.problems} == wanted


def test_one_text_is_one_name() -> None:
    query = build_query(columns="close", symbols=iter(["A", "B"]))

    assert (query.columns, query.symbols) == (("close",), ("A", "B"))


@pytest.mark.parametrize("horizons", [[], [0], ["a"], 21, [21, 21], None])
def test_horizons_and_quantiles_that_judge_nothing_are_refused(horizons: Any) -> None:
    with pytest.raises(InvalidSpec) as raised:
        tear_sheet("momentum", horizons=horizons, quantiles=1)

    assert [problem.path for problem in raised.value.problems] == ["horizons", "quantiles"]


def test_the_nearest_name_may_be_written_in_other_letters() -> None:
    assert suggest_closest("aapl", ["MSFT", "AAPL"]) == ", did you mean 'AAPL'?"
