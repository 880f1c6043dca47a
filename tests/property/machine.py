"""The Hypothesis state machine: it draws what happens next in a ``Simulation``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause, Lifecycle, Mode, RunStatus
from tests.property.backend import Backend, Wish
from tests.property.healing import heal, run_to_the_end
from tests.property.simulation import Process, Simulation
from tests.property.worlds import World, worlds

CHOICE = st.integers(0, 63)
AS_OF = st.none() | st.sampled_from([date(2026, 1, 2), date(2026, 1, 5)])
SELDOM = st.sampled_from([False, False, False, True])
PARAMETERS = st.builds(
    RunParameters, st.sampled_from(Mode), AS_OF, st.booleans(), recursive=SELDOM, smart=SELDOM
)
WISHES = st.builds(Wish, st.sampled_from([Cause.MANUAL, Cause.SCHEDULE]), PARAMETERS)
ACTS = ["step"] * 43 + [
    "publish", "publish", "ask", "ask", "refresh", "refresh", "own run", "own run",
    "duplicate", "duplicate", "replay", "lose", "kill", "kill", "zombie", "zombie",
    "retry", "fail", "fail", "cancel", "sweep",
]  # fmt: skip
"""What a byte of a burst may stand for; small ones are the ordinary course."""

BURST = st.binary(min_size=16, max_size=96)
"""Two bytes a small step: which act, and upon whom."""


class GateMachine(RuleBasedStateMachine):
    """Random histories over random graphs; see ``machine_over`` for what they run on."""

    make_backend: Callable[[], Backend]
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.simulation: Simulation | None = None
        self.calm = False

    @property
    def sim(self) -> Simulation:
        assert self.simulation is not None
        return self.simulation

    @initialize(
        world=worlds(), provisioned=st.booleans(), calm=st.sampled_from([False] * 3 + [True])
    )
    def begin(self, world: World, provisioned: bool, calm: bool) -> None:
        """``provisioned``: all first runs are over; ``calm``: no faults within bursts."""
        self.simulation, self.calm = Simulation(self.make_backend(), world, self.counts), calm
        self.sim.provision()
        if provisioned:
            run_to_the_end(self.sim)

    def teardown(self) -> None:
        # After a failed step there is nothing to heal: its error is the one to be seen.
        if self.simulation is not None:
            try:
                if sys.exc_info()[0] is None:
                    heal(self.simulation)
            finally:
                self.simulation.backend.close()

    def flow(self, choice: int) -> UUID:
        return self.sim.order[choice % len(self.sim.order)]

    def with_run(self) -> list[Process]:
        return [p for p in self.sim.processes if p.run is not None]

    # -- bursts of small steps ---------------------------------------------------------------

    @rule(burst=BURST)
    def interleave(self, burst: bytes) -> None:
        """Events are delivered, processes do steps and meet faults, in any order."""
        self.play(burst)

    @rule(choice=CHOICE, newer=st.booleans(), burst=BURST)
    def refresh_and_interleave(self, choice: int, newer: bool, burst: bytes) -> None:
        """A source is refreshed in the midst of everything else."""
        self.refresh(choice, newer)
        self.play(burst)

    @rule(choice=CHOICE, wish=WISHES, burst=BURST)
    def ask_and_interleave(self, choice: int, wish: Wish, burst: bytes) -> None:
        """Something is asked for in the midst of everything else."""
        self.sim.ask(self.flow(choice), wish)
        self.play(burst)

    def play(self, burst: bytes) -> None:
        self.sim.publish()
        for act, pick in zip(burst[::2], burst[1::2], strict=False):
            self.act("step" if self.calm else ACTS[act % len(ACTS)], pick)
            self.sim.counts["acts"] += 1

    def act(self, act: str, pick: int) -> None:
        """One small step; an act that finds nobody to act upon is an ordinary step."""
        sim, running = self.sim, self.with_run()
        if act == "ask":
            wish = RunParameters(force=pick % 3 == 0, recursive=pick % 5 == 0)
            sim.ask(self.flow(pick), Wish(parameters=wish))
        elif act == "refresh":
            self.refresh(pick, pick % 3 > 0)
        elif act == "own run":
            sim.create(self.flow(pick), wish=Wish(Cause.SCHEDULE))
        elif act == "sweep":
            sim.sweep()
        elif act == "duplicate" and sim.in_flight:
            sim.deliver(sim.in_flight[pick % len(sim.in_flight)], keep=True)
        elif act == "replay" and sim.announced:
            self.replay_an_event(choice=pick)
        elif act == "lose" and sim.in_flight:
            self.lose_an_event(choice=pick)
        elif act == "kill" and sim.processes:
            sim.kill(sim.processes[pick % len(sim.processes)])
        elif act in ("zombie", "retry", "fail", "cancel") and running:
            self.disturb(act, running[pick % len(running)])
        else:
            self.step(pick, publish=act == "publish")

    def disturb(self, act: str, process: Process) -> None:
        if act == "zombie":
            self.sim.declare_dead(process)
        elif act == "retry":
            self.sim.retry(process)
        else:
            status = RunStatus.FAILED if act == "fail" else RunStatus.CANCELLED
            self.sim.end_process(process, status)

    def step(self, pick: int, *, publish: bool) -> None:
        messages, processes = self.sim.in_flight, self.sim.processes
        count = len(messages) + len(processes)
        if publish or not count:
            self.sim.publish()
        elif pick % count < len(messages):
            self.sim.deliver(messages[pick % count])
        else:
            self.sim.step(processes[pick % count - len(messages)])

    def refresh(self, choice: int, newer: bool) -> None:
        """A source is asked to refresh; it has new data, or delivers the same again."""
        sources = [flow for flow in self.sim.order if flow in self.sim.ghost.sources]
        flow = sources[choice % len(sources)]
        self.sim.ghost.delivered[flow] += newer
        self.sim.ask(flow, Wish(Cause.SCHEDULE))

    # -- the ordinary course -----------------------------------------------------------------

    @rule(choice=CHOICE)
    def refresh_to_the_end(self, choice: int) -> None:
        """A source has new data, and all that follows from it runs."""
        self.refresh(choice, newer=True)
        run_to_the_end(self.sim)

    @rule()
    def all_run(self) -> None:
        """Everything that is on its way arrives and finishes."""
        run_to_the_end(self.sim)

    @rule(choice=CHOICE, wish=WISHES)
    def flow_run_of_its_own(self, choice: int, wish: Wish) -> None:
        """A person or a schedule has Prefect start the flow, without any opening."""
        self.sim.step(self.sim.create(self.flow(choice), wish=wish))

    @rule(choice=CHOICE)
    def reconfigure(self, choice: int) -> None:
        self.sim.reconfigure(self.flow(choice))

    @rule(choice=CHOICE)
    def pause_or_resume(self, choice: int) -> None:
        instance = self.sim.instances[choice % len(self.sim.instances)]
        paused = self.sim.state.instances[instance].lifecycle is Lifecycle.PAUSED
        self.sim.set_lifecycle(instance, Lifecycle.ACTIVE if paused else Lifecycle.PAUSED)

    @rule(hours=st.integers(1, 40))
    def time_passes(self, hours: int) -> None:
        self.sim.pass_time(timedelta(hours=hours))

    @rule()
    def sweep(self) -> None:
        self.sim.sweep()

    # -- faults ------------------------------------------------------------------------------

    @precondition(lambda self: self.sim.in_flight)
    @rule(choice=CHOICE)
    def lose_an_event(self, choice: int) -> None:
        self.sim.in_flight.pop(choice % len(self.sim.in_flight))
        self.sim.counts["lost"] += 1

    @precondition(lambda self: self.sim.announced)
    @rule(choice=CHOICE)
    def replay_an_event(self, choice: int) -> None:
        """An event of any age arrives once more."""
        self.sim.in_flight.append(self.sim.announced[choice % len(self.sim.announced)])
        self.sim.counts["replayed"] += 1

    @precondition(lambda self: self.sim.processes)
    @rule(choice=CHOICE)
    def kill(self, choice: int) -> None:
        self.sim.kill(self.sim.processes[choice % len(self.sim.processes)])

    @precondition(lambda self: self.with_run())
    @rule(choice=CHOICE, act=st.sampled_from(["zombie", "retry", "fail", "cancel"]))
    def disturb_a_run(self, choice: int, act: str) -> None:
        self.disturb(act, self.with_run()[choice % len(self.with_run())])

    @rule(choice=CHOICE)
    def source_falls_behind(self, choice: int) -> None:
        """A flow's source delivers late from now on, or is on time again."""
        self.sim.delayed ^= {self.flow(choice)}


def machine_over(make: Callable[[], Backend], counts: Counter[str]) -> type[GateMachine]:
    """The machine on backends that ``make`` gives, one a history; ``counts`` sums over all."""
    return type("Machine", (GateMachine,), {"make_backend": staticmethod(make), "counts": counts})
