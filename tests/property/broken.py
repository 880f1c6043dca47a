"""Broken graphs, each a short story, with what is truly wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect_instances.libs.core.status import Reason, RunStatus
from tests.property.graphs import (
    Graph,
    chain,
    diamond,
    fan_out,
    mixed_cadences,
    model,
    of_pairs,
    unbalanced_diamond,
)
from tests.property.scene import BY_HAND, Scene


@dataclass(frozen=True)
class Broken:
    """A graph, what happened to it, who asks, and the flows that are the root causes."""

    name: str
    graph: Graph
    happens: Callable[[Scene], None]
    asked: str
    roots: tuple[tuple[str, Reason], ...]
    ready: bool = True
    """Whether everything had run once before."""

    def scene(self, backend: Any = None) -> Scene:
        """The story, told to its end, in memory or on a database."""
        made = Scene.ready if self.ready else Scene
        scene = made(self.graph, backend=backend)
        self.happens(scene)
        return scene


def _fails(name: str, status: RunStatus = RunStatus.FAILED) -> Callable[[Scene], None]:
    def happens(scene: Scene) -> None:
        scene.begin(name, None if scene.opening(name) else BY_HAND)
        scene.end(name, status, f"{name} broke")

    return happens


def _new_source_then(fails: str) -> Callable[[Scene], None]:
    """The source publishes, and a flow on the way fails on it."""

    def happens(scene: Scene) -> None:
        scene.run("A")
        _fails(fails)(scene)

    return happens


def _cancelled_at_the_top(scene: Scene) -> None:
    _fails("A", RunStatus.CANCELLED)(scene)
    scene.ask("B")


def _asked_while_the_source_is_broken(scene: Scene) -> None:
    _fails("A")(scene)
    scene.ask("C")


def _middle_is_paused(scene: Scene) -> None:
    scene.pause("B")
    scene.run("A")


def _source_is_late(scene: Scene) -> None:
    scene.begin("A", BY_HAND)
    scene.finish("A", same=True, delayed=True)
    scene.ask("B")


def _both_sides_fail(scene: Scene) -> None:
    scene.run("A")
    _fails("B")(scene)
    _fails("C")(scene)


def _running_upstream(scene: Scene) -> None:
    scene.run("A")
    scene.begin("B")


def _weekly_fails_after_the_daily(scene: Scene) -> None:
    scene.begin("weekly", BY_HAND)
    scene.end("weekly", RunStatus.CRASHED, "weekly broke")
    scene.begin("weekly")
    scene.end("weekly", RunStatus.CRASHED, "weekly broke")
    scene.begin("weekly")
    scene.end("weekly", RunStatus.CRASHED, "weekly broke")
    scene.run("daily")


def _nothing_ran(scene: Scene) -> None:
    scene.ask("D4")


def _config_changed_at_the_top(scene: Scene) -> None:
    scene.reconfigure("A")


def _training_never_succeeds(scene: Scene) -> None:
    scene.run("prices")
    scene.begin("training", BY_HAND)
    scene.end("training", RunStatus.FAILED, "no rows to learn from")


FAILED, STALE = Reason.RUN_FAILED, Reason.UPSTREAM_ADVANCED

BROKEN = (
    Broken("a failure two flows up", chain(), _new_source_then("B"), "C", (("B", FAILED),)),
    Broken(
        "a cancelled source",
        chain(),
        _cancelled_at_the_top,
        "B",
        (("A", Reason.RUN_CANCELLED),),
    ),
    Broken(
        "a source that failed under a READY flow that is asked to run",
        unbalanced_diamond(),
        _asked_while_the_source_is_broken,
        "C",
        (("A", FAILED),),
    ),
    Broken("a source that is late", chain(), _source_is_late, "B", (("A", Reason.SOURCE_DELAYED),)),
    Broken("a paused instance on the way", chain(), _middle_is_paused, "C", (("B", STALE),)),
    Broken(
        "both sides of a diamond",
        diamond(),
        _both_sides_fail,
        "D",
        (("B", FAILED), ("C", FAILED)),
    ),
    Broken(
        "an upstream that runs",
        chain(),
        _running_upstream,
        "C",
        (("B", Reason.RUN_STARTED),),
    ),
    Broken(
        "a weekly upstream whose process dies",
        mixed_cadences(),
        _weekly_fails_after_the_daily,
        "D",
        (("weekly", Reason.RUN_CRASHED),),
    ),
    Broken(
        "nothing ever ran",
        fan_out(),
        _nothing_ran,
        "D4",
        (("A", Reason.NEVER_RAN),),
        ready=False,
    ),
    Broken(
        "a changed configuration at the top",
        chain(),
        _config_changed_at_the_top,
        "C",
        (("A", Reason.CONFIG_CHANGED),),
    ),
    Broken(
        "a training that never succeeded",
        model(),
        _training_never_succeeds,
        "inference",
        (("training", FAILED),),
        ready=False,
    ),
    Broken(
        "a far ancestor of a wide join",
        of_pairs("A>B A>C A>E B>D C>D E>F F>D"),
        _new_source_then("E"),
        "D",
        (("B", STALE), ("C", STALE), ("E", FAILED)),
    ),
)
