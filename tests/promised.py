"""How many examples are drawn where a number is promised.

The profile ``ci`` draws 100 examples of a law. Histories of the gate, backtests, optimizers and the
labels of a training set are promised more, in docs and in the reliability targets.
"""

from __future__ import annotations

from hypothesis import settings

PROMISED = 500 if settings.get_current_profile_name() == "ci" else settings().max_examples
"""Examples of a law with a promise, in the profile that was chosen."""
