"""One round: new data, a refresh, faults while it travels, rest, and what has to hold then."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from prefect_instances.libs.core.errors import InstancesError
from prefect_instances.libs.core.ids import EXECUTION_TAG
from prefect_instances.libs.core.status import FlowStatus, RunStatus
from tests.faults import invariants
from tests.faults.graph import PROJECT, manifest, write_sources
from tests.faults.strikes import Strike, draw, strike
from tests.faults.world import World
from tests.patience import eventually

LIMIT = 240.0
"""Seconds after which a round that is not at rest counts as lost."""


@dataclass
class Round:
    """What happened in one round; ``faults`` are empty if all held."""

    number: int
    struck: list[str] = field(default_factory=list)
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = "; ".join(self.struck) or "no fault"
        verdict = "ok" if not self.faults else "FAILED " + " | ".join(self.faults)
        return f"round {self.number:3} {self.seconds:6.1f} s  {verdict}  [{told}]"


class Harness:
    """Runs rounds in one world; the same seed draws the same faults."""

    def __init__(self, world: World, seed: int, kept: Path) -> None:
        self.world, self.seed, self.kept = world, seed, kept
        self.sources = world.home.parent / "sources"
        self.generation = 0

    def build(self) -> None:
        """Apply the graph and wait until every instance is READY."""
        write_sources(self.sources, 0, Random(self.seed))
        self.world.apply(manifest(self.sources), "--wait", "--timeout", "600", seconds=660)

    def play(self, number: int) -> Round:
        """Play one round to its end; keep the logs if something did not hold."""
        rng, played = Random(f"{self.seed}:{number}"), Round(number)
        strikes = draw(rng) if number else []
        marks = self._log_marks()
        self.generation += 1
        write_sources(self.sources, self.generation, rng)
        before = self._facts()
        self._request("prices", before)
        began = time.monotonic()
        for fault in strikes:
            played.struck.append(self._strike(fault))
        self.world.restore() if played.struck else None
        at_rest = self._rest(before)
        played.seconds = time.monotonic() - began
        played.faults = self._judge(before, at_rest)
        if played.faults:
            self._keep(played, marks)
        return played

    def _strike(self, fault: Strike) -> str:
        hit = strike(self.world, fault)
        return f"{fault} ({hit or 'nothing there'})"

    def _request(self, name: str, before: invariants.Facts) -> None:
        """Ask for a refresh and wait until it is on record: before that, a death loses it."""
        self.world.cli("run", f"{PROJECT}/{name}")
        known = len(before.runs)
        eventually(lambda: len(self._facts().runs) > known, 90, f"{name} runs")

    def _facts(self) -> invariants.Facts:
        with self.world.database.read() as session:
            return invariants.read_facts(session)

    def _rest(self, before: invariants.Facts) -> list[str]:
        """Wait until nothing moves and all is READY; return what is not when the time is over."""
        until = time.monotonic() + LIMIT
        while True:
            moving = self._moving(before)
            if not moving or time.monotonic() > until:
                return moving
            time.sleep(0.5)

    def _moving(self, before: invariants.Facts) -> list[str]:
        try:
            facts = self._facts()
        except InstancesError as error:
            return [str(error)]
        old = before.flows["prices.refresh"].generation
        stuck = [
            f"{flow.name} is {flow.status}"
            for flow in facts.flows.values()
            if flow.status != FlowStatus.READY
        ]
        if facts.flows["prices.refresh"].generation == old:
            stuck.append("prices did not advance")
        stuck += [
            f"a run of {r.flow} is RUNNING" for r in facts.runs if r.status == RunStatus.RUNNING
        ]
        return stuck or self._live_in_prefect()

    def _live_in_prefect(self) -> list[str]:
        condition = {
            "tags": {"all_": [EXECUTION_TAG]},
            "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"]}},
        }
        try:
            found = self.world.post("/flow_runs/filter", {"flow_runs": condition})
        except httpx.HTTPError as error:
            return [f"Prefect: {error!r}"]
        return [f"{run['name']} is {run['state_name']} in Prefect" for run in found]

    def _judge(self, before: invariants.Facts, at_rest: Iterable[str]) -> list[str]:
        facts, since = self._facts(), len(before.runs)
        expected = sorted(invariants.descendants(facts, "prices.refresh"))
        return [
            *(f"not at rest: {text}" for text in at_rest),
            *invariants.find_miscounted(facts, since, expected),
            *invariants.find_doubled(facts, since),
            *invariants.find_mixed(facts),
            *invariants.find_behind(facts),
            *self._audit(),
        ]

    def _audit(self) -> list[str]:
        """What ``instances verify`` finds."""
        found = self.world.verify()
        harmful = [one for one in found.findings if one.harms]
        told = [f"{one.kind}: {one.subject}: {one.detail}" for one in harmful]
        return [*told, *(f"not looked at: {text}" for text in found.unseen)]

    def _log_marks(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in (self.world.home / "logs").glob("*.log")}

    def _keep(self, played: Round, marks: dict[Path, int]) -> None:
        """Keep the round's part of every log, and the databases as they are now."""
        folder = self.kept / f"round-{played.number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "round.txt").write_text(f"{played}\n")
        for path in (self.world.home / "logs").glob("*.log"):
            with path.open("rb") as log:
                log.seek(marks.get(path, 0))
                (folder / path.name).write_bytes(log.read())
        for path in (self.world.home / "instances.db", self.world.home / "prefect" / "prefect.db"):
            for part in (path, path.with_name(path.name + "-wal")):
                if part.exists():
                    shutil.copy(part, folder)
