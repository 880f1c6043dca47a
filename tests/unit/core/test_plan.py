"""Plans as pure values: order, fields, what becomes stale, what is left alone."""

from __future__ import annotations

from prefect_instances.libs.core.plan import (
    Action,
    Lineage,
    Plan,
    Present,
    Step,
    Wanted,
    compute,
    format_lines,
    summarize,
)


def wanted(label: str, *upstreams: str, content: str = "1", **document: object) -> Wanted:
    contents = {"refresh": content}
    return Wanted(label, label, "DatasetInstance", {"name": label, **document}, upstreams, contents)


def present(label: str, *, content: str = "1", unfinished: str = "", **document: object) -> Present:
    contents = {"refresh": content}
    return Present({"name": label, **document}, 3, True, unfinished, contents)


CHAIN = Lineage(
    triggering=[(("p/a", "refresh"), ("p/b", "refresh")), (("p/b", "refresh"), ("p/c", "refresh"))],
    published=frozenset({("p/a", "refresh"), ("p/b", "refresh")}),
)


def test_upstreams_come_first_and_levels_say_what_is_independent() -> None:
    plan = compute([wanted("p/b", "p/a"), wanted("p/c", "p/a"), wanted("p/a")], {})
    assert [step.name for step in plan.steps] == ["p/a", "p/b", "p/c"]
    assert plan.levels == (("p/a",), ("p/b", "p/c"))
    assert {step.action for step in plan.steps} == {Action.CREATE}
    assert plan.versions == {"p/a": 0, "p/b": 0, "p/c": 0}


def test_what_is_as_wanted_is_left_alone() -> None:
    plan = compute([wanted("p/a", x=1)], {"p/a": present("p/a", x=1)})
    assert plan.is_empty
    assert plan.versions == {}


def test_a_change_names_its_fields_and_what_it_makes_stale() -> None:
    known = {"p/a": present("p/a", config={"symbols": ["A", "B"]}, gone=True)}
    changed = wanted("p/a", content="2", config={"symbols": ["A", "C", "D"]}, new=1)
    (step,) = compute([changed], known, CHAIN).steps
    assert (step.action, step.version) == (Action.UPDATE, 3)
    assert [str(change) for change in step.changes] == [
        'config.symbols[1]: "B" -> "C"',
        'config.symbols[2]: (none) -> "D"',
        "gone: true -> (none)",
        "new: (none) -> 1",
    ]
    # The third flow has no output yet: there is nothing of it that could be stale.
    assert step.invalidates == ("p/a.refresh", "p/b.refresh")


def test_a_change_that_decides_no_output_makes_nothing_stale() -> None:
    known = {"p/a": present("p/a")}
    (step,) = compute([wanted("p/a", description="x")], known, CHAIN).steps
    assert (step.action, step.invalidates) == (Action.UPDATE, ())


def test_what_was_left_unfinished_is_resumed() -> None:
    plan = compute([wanted("p/a")], {"p/a": present("p/a", unfinished="step document: died")})
    assert [(step.action, step.detail) for step in plan.steps] == [
        (Action.RESUME, "step document: died")
    ]


def test_the_text_ends_with_the_counts() -> None:
    known = {"p/a": present("p/a")}
    plan = compute([wanted("p/a", content="2", x=1), wanted("p/n")], known, CHAIN)
    assert list(format_lines(plan)) == [
        "~ p/a  DatasetInstance",
        "    x: (none) -> 1",
        "    makes stale: p/a.refresh, p/b.refresh",
        "+ p/n  DatasetInstance",
        "1 to update, 1 to create",
    ]
    assert summarize(plan, done=True) == "1 updated, 1 created"


def test_a_plan_names_the_projects_that_it_leaves_without_instances() -> None:
    steps = [
        Step(Action.REMOVE, "Research/prices", "DatasetInstance"),
        Step(Action.REMOVE, "demo/prices", "DatasetInstance"),
        Step(Action.UNCHANGED, "demo/momentum", "SignalInstance"),
    ]
    plan = Plan(tuple(steps))
    assert plan.list_emptied_projects(["DEMO"]) == ["Research"]
    assert plan.list_emptied_projects(["demo", "research"]) == []
    assert plan.list_emptied_projects([]) == ["Research", "demo"]
