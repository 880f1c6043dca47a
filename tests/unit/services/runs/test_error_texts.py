"""The text of an error, as it is recorded: any text can be stored."""

from __future__ import annotations

import pytest

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.services.runs.execution import describe_error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no file 'px-\udcff.csv'"), "ValueError: no file 'px-\\udcff.csv'"),
        (PermanentError("the source said \0"), "the source said \\x00"),
        (ValueError("Kurs: 5 €"), "ValueError: Kurs: 5 €"),
        (KeyError(), "KeyError: KeyError"),
    ],
)
def test_what_no_database_stores_is_escaped(error: Exception, text: str) -> None:
    assert describe_error(error) == text
