"""What happened in all histories of a test, so that it is seen not to be vacuous."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap

COMMON = [
    "histories", "published", "cut off", "superseded", "skipped", "blocked", "delivered",
    "replayed", "lost", "killed created", "crashed", "forced", "asked", "reconfigured", "PAUSED",
    "ACTIVE", "announced again", "started by gate", "started by manual", "started by schedule",
    "started by provision", "became RunSucceeded", "became UpstreamAdvanced",
    "became ConfigChanged",
]  # fmt: skip
"""What a hundred histories cannot do without."""

RARE = [
    "duplicated", "killed started", "killed worked", "zombies", "interrupted",
    "in-process retries", "failed", "cancelled", "needed a person", "started by retry",
    "became Revalidated", "became Starved", "became PastDue", "became SourceDelayed",
    "became RunFailed", "became RunCrashed", "became RunCancelled", "blocked by ERROR",
    "blocked by STALE", "blocked by RUNNING", "blocked by NOT_INITIALIZED",
]  # fmt: skip
"""Every other event that the rules speak of; none may be missing from 500 histories."""

MANY = 500


def table(title: str, counts: Counter[str]) -> str:
    """The counts as one paragraph."""
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return "\n".join(
        ["", f"{title}:", *wrap(told, 110, initial_indent="  ", subsequent_indent="  ")]
    )


def assert_not_vacuous(counts: Counter[str]) -> None:
    """Every kind of event happened that so many histories must have."""
    names = COMMON + (RARE if counts["histories"] >= MANY else [])
    missing = [name for name in names if not counts[name]]
    assert not missing, f"these never happened: {missing}"
