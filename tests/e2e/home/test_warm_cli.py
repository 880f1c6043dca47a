"""A command that is forked says and does what one says that is started."""

from __future__ import annotations

import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("definitions",), 0), (("show", "nobody/nothing"), 1), (("no-such-command",), 2)],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_forked_command_says_what_a_started_one_says(
    stack: Stack, arguments: tuple[str, ...], code: int
) -> None:
    started = stack.start(arguments, 120)
    forked = stack.warm.run(arguments, 120)

    assert forked.returncode == started.returncode == code
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)
