"""``python -m tests.faults.hosts_rounds``: the demonstration on several hosts, struck each round.

Each round asks for the prices of one more day, and strikes one part of the topology while that
travels. Everything has to come to rest without a person, having run once, on inputs of one day.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from prefect_instances.libs.core.errors import InstancesError
from prefect_instances.libs.core.status import FlowStatus, RunStatus
from tests.e2e.stack import REPOSITORY, Answer, packaged_days
from tests.faults import invariants
from tests.faults.hosts import Host, Hosts, several_hosts
from tests.faults.rounds import LIMIT, Round
from tests.patience import eventually

DEMO = REPOSITORY / "cli" / "demo.yaml"
LAST_DAY = "2022-11-30"
PRICES, INDEX = "sp500_prices", "sp500_index"
SOURCE = f"{PRICES}.refresh"

COPY = "PostgreSQL, restored from a copy of its files"

STRIKES = (
    "API server 1",
    "PostgreSQL",
    "host-a",
    "Redis",
    "MLflow",
    "host-b",
    "background services",
    "API server 2",
    "object store",
    "Evidently",
    COPY,
)
"""What is struck, one a round. All are killed but the object store, which keeps its data in memory:
it stands still for a while. A host that was killed comes back only after the round."""

AWAY = 5.0
"""Seconds until the supervisor starts again what was killed, or the object store goes on."""


class HostsHarness:
    """Plays rounds on several hosts; the same seed strikes at the same moments."""

    def __init__(self, hosts: Hosts, seed: int) -> None:
        self.hosts, self.seed = hosts, seed

    def build(self) -> None:
        """Apply the demonstration, unchanged, and wait until every instance is READY."""
        self._cli("apply", "-f", str(DEMO), "--wait", "--timeout", "800")

    def play(self, number: int) -> Round:
        """Play one round to its end."""
        rng, struck = Random(f"{self.seed}:{number}"), STRIKES[number % len(STRIKES)]
        before = self._facts()
        day = packaged_days(LAST_DAY)[number]
        self._cli("run", f"demo/{PRICES}", "--as-of", day)
        known = len(before.runs)
        eventually(lambda: len(self._facts().runs) > known, 90, f"{PRICES} runs")
        began, delay = time.monotonic(), rng.uniform(0, 6)
        played = Round(number, [f"{struck} +{delay:.1f}s"])
        time.sleep(delay)
        with self._struck(struck):
            at_rest = self._rest(before)
        played.seconds = time.monotonic() - began
        played.faults = self._judge(before, at_rest)
        return played

    @contextmanager
    def _struck(self, name: str) -> Iterator[None]:
        """Strike a part, and bring it back: a host after the block, everything else before it."""
        for host in self.hosts.workers:
            if host.home.name == name:
                host.kill_everything()
                yield
                host.up()
                return
        if name == "object store":
            self.hosts.s3.process.send_signal(signal.SIGSTOP)
            time.sleep(AWAY)
            self.hosts.s3.process.send_signal(signal.SIGCONT)
        elif name == COPY:
            self.hosts.postgres.restore_from_copy()
        else:
            self.hosts.parts[name].kill()
            time.sleep(AWAY)
            self.hosts.parts[name].start()
        yield

    def _cli(self, *arguments: str) -> Answer:
        """Run a command on the first host."""
        host: Host = self.hosts.workers[0]
        return host.cli(*arguments, seconds=900)

    def _facts(self) -> invariants.Facts:
        with self.hosts.workers[0].database.read() as session:
            return invariants.read_facts(session)

    def _rest(self, before: invariants.Facts) -> list[str]:
        """Wait until nothing moves and all is READY; return what is not when the time is over."""
        until = time.monotonic() + LIMIT
        while (moving := self._moving(before)) and time.monotonic() < until:
            time.sleep(0.5)
        return moving

    def _moving(self, before: invariants.Facts) -> list[str]:
        try:
            facts = self._facts()
        except InstancesError as error:
            return [str(error)]
        found = [
            f"{flow.name} is {flow.status}"
            for flow in facts.flows.values()
            if flow.status != FlowStatus.READY
        ]
        if facts.flows[SOURCE].generation == before.flows[SOURCE].generation:
            found.append(f"{PRICES} did not advance")
        running = [run.flow for run in facts.runs if run.status == RunStatus.RUNNING]
        return [*found, *(f"a run of {flow} is RUNNING" for flow in running)]

    def _judge(self, before: invariants.Facts, at_rest: Sequence[str]) -> list[str]:
        facts, since = self._facts(), len(before.runs)
        expected = sorted(invariants.descendants(facts, SOURCE))
        audit = self.hosts.workers[0].cli("verify", "--json", code=None, seconds=120)
        found = [*map(str, audit.json["findings"]), *audit.json["unseen"]] if audit.code else []
        return [
            *(f"not at rest: {text}" for text in at_rest),
            *invariants.find_miscounted(facts, since, expected),
            *invariants.find_doubled(facts, since),
            *invariants.find_mixed(facts, (PRICES, INDEX)),
            *invariants.find_behind(facts),
            *found,
        ]


def main() -> int:
    """Play the rounds; return 1 if something did not hold in any of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hosts_rounds")
    parser.add_argument("--rounds", type=int, default=len(STRIKES))
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    asked = parser.parse_args()
    failed = 0
    with several_hosts() as hosts:
        print(f"seed {asked.seed}; logs in {hosts.folder}", flush=True)
        harness = HostsHarness(hosts, asked.seed)
        harness.build()
        print("every instance is READY", flush=True)
        for number in range(asked.first, asked.first + asked.rounds):
            played = harness.play(number)
            failed += bool(played.faults)
            print(played, flush=True)
    print(f"{asked.rounds} rounds, {failed} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
