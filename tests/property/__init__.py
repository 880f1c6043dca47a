"""Laws of the core, and random histories over it: what they run on, play and check.

``graphs``, ``backend`` and ``scene`` serve the unit tests of the core too.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.property.{name}" for name in ("ghost", "healing", "laws", "scene", "simulation"))
)
