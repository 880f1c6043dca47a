"""What the tests of real homes share."""

from __future__ import annotations

from uuid import uuid4

import pytest


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return f"p{uuid4().hex[:6]}"
