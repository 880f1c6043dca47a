"""What the benchmark judges and writes: ratios, targets, the page with its plots."""

from __future__ import annotations

import importlib
import json
import pkgutil
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

import benchmarks.subjects
from benchmarks import report
from benchmarks.__main__ import ON_REQUEST, PEERS, SUBJECTS, main
from benchmarks.peers.environments import Absent, make_environment
from benchmarks.peers.graphs import (
    Graph,
    make_chain,
    make_diamond,
    make_fan_out,
    make_idle,
    make_unbalanced_diamond,
)
from benchmarks.peers.ours import trace_origins
from benchmarks.peers.page import find_better
from benchmarks.peers.projects import body
from benchmarks.peers.records import (
    BodyRun,
    Timing,
    Verdict,
    has_arrived,
    judge,
    parse_log,
    time_refresh,
)
from benchmarks.peers.turns import Idle, Outcome
from benchmarks.record import Figure, Target
from benchmarks.report import (
    BEGIN,
    END,
    PEERS_BEGIN,
    PEERS_END,
    SCALE_BEGIN,
    SCALE_END,
    document,
    write_docs,
)
from benchmarks.subjects.peers import PEERS as KNOWN_PEERS
from benchmarks.subjects.peers import make_figures, make_idle_figures
from prefect_instances.libs.db.models import RunRecord

measure_once = cache(report.loop_seconds)


@pytest.fixture(autouse=True)
def loop_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """How quick the machine is takes a second to find out."""
    monkeypatch.setattr(report, "loop_seconds", measure_once)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(2.0), True),
        (Target(1.0), False),
        (Target(1.3, of_ratio=True), True),
        (Target(0.9, of_ratio=True), False),
        (Target(3.0, least=True), False),
        (None, None),
    ],
)
def test_a_target_judges_the_value_or_the_ratio(target: Target | None, met: bool | None) -> None:
    figure = Figure("hop", "median", 1.5, "s", "a peer", 1.5, target)

    assert figure.ratio == 1.0
    assert figure.met is met


def test_a_figure_without_a_comparison_has_no_ratio_and_misses_no_ratio_target() -> None:
    figure = Figure("hop", "median", 1.5, "s", target=Target(1.0, of_ratio=True))

    assert (figure.ratio, figure.met) == (None, None)


def test_the_document_is_json_with_ratio_target_and_verdict() -> None:
    figure = Figure("core", "commit", 20.0, "ms", "bare SQL", 10.0, Target(500), at=1000)
    [written] = json.loads(json.dumps(document([figure], quick=True)))["figures"]

    assert (written["ratio"], written["target"], written["met"]) == (2.0, "≤ 500", True)
    assert (written["compared_to"], written["at"]) == ("bare SQL", 1000)


def test_the_page_keeps_its_text_and_gets_tables_and_plots(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    curve = [Figure("core", "gate", float(size), "ms", at=size) for size in (10, 100)]

    write_docs([*curve, Figure("hop", "median", 1.0, "s")], page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| gate | 100 | 100 ms |" in text
    assert "(performance-core.svg)" in text
    assert (tmp_path / "performance-core.svg").stat().st_size > 0
    assert not (tmp_path / "performance-hop.svg").exists()


def test_scale_is_written_into_its_own_page_only(tmp_path: Path) -> None:
    page, own = tmp_path / "performance.md", tmp_path / "scaling.md"
    page.write_text(f"{BEGIN}\nkept\n{END}\n")
    own.write_text(f"before\n{SCALE_BEGIN}\nold\n{SCALE_END}\nafter\n")

    write_docs([Figure("scale", "apply", 273.0, "s", at=2000)], page)

    assert page.read_text() == f"{BEGIN}\nkept\n{END}\n"
    assert "old" not in own.read_text()
    assert "| apply | 2,000 | 273 s |" in own.read_text()
    assert own.read_text().endswith("after\n")


def test_every_subject_is_listed_once_and_can_be_imported() -> None:
    modules = {module.name for module in pkgutil.iter_modules(benchmarks.subjects.__path__)}

    assert sorted([*SUBJECTS, *ON_REQUEST]) == sorted(modules)
    for name in modules:
        assert callable(importlib.import_module(f"benchmarks.subjects.{name}").measure)


def test_every_peer_can_be_chosen() -> None:
    assert tuple(KNOWN_PEERS) == PEERS


def test_a_subject_that_cannot_be_measured_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: object) -> list[Figure]:
        raise OSError("no database")

    monkeypatch.setattr("benchmarks.subjects.core.measure", broken)
    monkeypatch.setattr("benchmarks.__main__._leave_other_servers", lambda: None)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))

    assert main(["--quick", "--only", "core"]) == 1
    assert "core could not be measured" in capsys.readouterr().err


def _run(name: str, began: float, committed: float, *origins: str) -> BodyRun:
    return BodyRun(name, began, committed, frozenset(origins))


def _refreshed_diamond(origin: str, start: float) -> list[BodyRun]:
    """A refresh of the diamond: each body begins a second after what it reads has committed."""
    return [
        _run("diamond_a", start, start + 1, origin),
        _run("diamond_b", start + 2, start + 3, origin),
        _run("diamond_c", start + 2, start + 4, origin),
        _run("diamond_d", start + 5, start + 6, origin),
    ]


def test_the_graphs_of_the_peers_have_the_named_shapes() -> None:
    chain, fan, skew = make_chain(5), make_fan_out(50), make_unbalanced_diamond(3)

    assert chain.upstreams["chain_4"] == ("chain_3",)
    assert (len(chain.descendants), len(fan.descendants)) == (4, 50)
    assert {fan.upstreams[name] for name in fan.descendants} == {(fan.root,)}
    assert skew.upstreams["skew_d"] == ("skew_b", "skew_c2")
    idle = make_idle(1000)
    assert [name for name, read in idle.items() if not read] == ["idle_0000"]
    assert idle["idle_0999"] == ("idle_0099",)


def test_a_log_without_commits_or_with_half_a_line_is_read_as_far_as_it_goes() -> None:
    lines = [
        '{"name": "a", "run": "1", "began": 5.0, "ended": 5.1, "origins": ["1"]}\n',
        '{"name": "b", "run": "2", "began": 6.0, "ended": 6.1, "origins": ["1", "0"]}\n',
        '{"name": "c", "run": "3", "began": 7.0, "ended": 7.1, "origins": ["1"]}\n',
        '{"name": "d", "run": "4", "beg',
    ]

    runs = parse_log(lines, {("a", "1"): 5.5, ("b", "2"): 6.5, ("d", "4"): 9.0})

    assert runs == [_run("a", 5.0, 5.5, "1"), _run("b", 6.0, 6.5, "0", "1")]


def test_a_body_passes_on_the_refreshes_that_its_inputs_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(body.FOLDER, str(tmp_path))
    (tmp_path / "values").mkdir()

    for name, reads, run in [("a", [], "1"), ("b", ["a"], "2"), ("a", [], "3"), ("d", "ab", "4")]:
        body.run_body(name, reads, run)

    with (tmp_path / "log.jsonl").open() as log:
        assert [json.loads(line)["origins"] for line in log] == [["1"], ["1"], ["3"], ["1", "3"]]


def test_a_hop_begins_at_the_last_commit_that_a_body_waits_for() -> None:
    timing = time_refresh(make_diamond(), _refreshed_diamond("1", 100.0), "1")

    assert timing == Timing(hops=(1.0, 1.0, 1.0), total=5.0)


def test_a_refresh_that_did_not_reach_everything_has_no_timing() -> None:
    assert time_refresh(make_diamond(), _refreshed_diamond("1", 0.0)[:-1], "1") is None


def test_a_refresh_has_arrived_when_every_asset_ran_on_the_newest() -> None:
    first, second = _refreshed_diamond("1", 0.0), _refreshed_diamond("2", 10.0)

    assert has_arrived(make_diamond(), first, 1)
    assert not has_arrived(make_diamond(), first, 2)
    assert not has_arrived(make_diamond(), [*first, *second[:-1]], 2)
    assert has_arrived(make_diamond(), [*first, *second], 2)


def _record(*reads: RunRecord) -> RunRecord:
    pins = [{"version": str(run.output_version)} for run in reads]
    at = datetime.fromtimestamp(0, UTC)
    return RunRecord(started_at=at, ended_at=at, pins=pins, output_version=uuid4())


def test_the_origins_of_our_runs_are_the_roots_versions_that_they_descend_from() -> None:
    old, new = _record(), _record()
    left, right = _record(old), _record(new)
    rows = [("a", old), ("a", new), ("b", left), ("c", right), ("d", _record(left, right))]

    found = [(run.name, run.origins) for run in trace_origins(rows)]

    first, second = str(old.output_version), str(new.output_version)
    assert found == [
        ("a", {first}),
        ("a", {second}),
        ("b", {first}),
        ("c", {second}),
        ("d", {first, second}),
    ]


SKEWED = make_unbalanced_diamond(3.0)


@pytest.mark.parametrize(
    ("graph", "drop", "more", "verdict"),
    [
        pytest.param(make_diamond(), (), [], Verdict(), id="exactly once"),
        pytest.param(make_diamond(), ("diamond_d",), [], Verdict(lost=2), id="joint never ran"),
        pytest.param(
            make_diamond(), (), [_run("diamond_d", 17, 18, "2")], Verdict(doubled=1), id="twice"
        ),
        pytest.param(
            make_diamond(), (), [_run("diamond_d", 13, 14, "1", "2")], Verdict(mixed=1), id="mixed"
        ),
    ],
)
def test_runs_are_judged_lost_mixed_or_doubled(
    graph: Graph, drop: tuple[str, ...], more: list[BodyRun], verdict: Verdict
) -> None:
    runs = [*_refreshed_diamond("1", 0.0), *_refreshed_diamond("2", 10.0)]

    assert judge(graph, [*[run for run in runs if run.name not in drop], *more]) == verdict


def test_of_overlapping_refreshes_only_the_last_has_to_arrive() -> None:
    roots = [_run("skew_a", 0, 1, "1"), _run("skew_a", 3, 4, "2")]
    below = [_run(name, 5, 6, "2") for name in SKEWED.descendants]
    late = [run for run in below if run.name != "skew_d"]

    assert judge(SKEWED, [*roots, *below]) == Verdict()
    assert judge(SKEWED, [*roots, *late, _run("skew_d", 5, 6, "1", "2")]) == Verdict(1, 1)


def test_a_peer_that_cannot_be_installed_is_absent_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Absent, match="uv, which is not on the path"):
        make_environment("airflow", tmp_path / "cache")


def _outcome(hop: float, verdict: Verdict) -> Outcome:
    return Outcome(3, [Timing((hop, hop), 2 * hop)] * 3, verdict)


def test_figures_stand_beside_each_peer_and_less_is_better() -> None:
    outcomes = {
        "ours": {"diamond": _outcome(1.0, Verdict())},
        "Airflow 3": {"diamond": _outcome(0.5, Verdict(mixed=1))},
        "Dagster 1": {"diamond": _outcome(4.0, Verdict())},
    }

    figures = {(one.name, one.compared_to): one for one in make_figures("ours", outcomes)}

    hop = figures["diamond: hop, median", "Airflow 3"]
    assert (hop.value, hop.compared, hop.ratio, hop.met) == (1.0, 0.5, 2.0, False)
    assert figures["diamond: total, median", "Dagster 1"].ratio == 0.25
    mixed = figures["diamond: runs mixed, of 3 refreshes", "Airflow 3"]
    assert (mixed.value, mixed.compared, mixed.met) == (0, 1, True)
    assert find_better(figures.values()) == [
        "diamond: hop, median: 0.50 s in Airflow 3, 1 in ours",
        "diamond: hop, p95: 0.50 s in Airflow 3, 1 in ours",
        "diamond: total, median: 1 s in Airflow 3, 2 in ours",
    ]


def test_the_document_names_each_measure_of_the_peers_once() -> None:
    outcomes = {
        "ours": {"chain of 5": _outcome(1.0, Verdict()), "fan-out 50": _outcome(2.0, Verdict())},
        "Airflow 3": {
            "chain of 5": _outcome(0.5, Verdict()),
            "fan-out 50": _outcome(3.0, Verdict()),
        },
    }

    figures = document(list(make_figures("ours", outcomes)), quick=True)["figures"]

    named = {one["name"]: one for one in figures if "ours" in one}
    assert named["peers: hop"] == {"name": "peers: hop", "unit": "s", "ours": 1.0, "airflow": 0.5}
    assert (named["peers: fan-out 50"]["ours"], named["peers: fan-out 50"]["airflow"]) == (4.0, 6.0)
    assert named["peers: chain of 5"]["airflow"] == 1.0


def test_without_peers_our_figures_stand_alone() -> None:
    made = list(make_figures("ours", {"ours": {"diamond": _outcome(1.0, Verdict())}}))

    assert len(made) == 6
    assert {(figure.compared_to, figure.compared) for figure in made} == {("", None)}


def test_the_page_has_a_section_of_the_peers_which_leaves_the_other_figures(
    tmp_path: Path,
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"{BEGIN}\nkept\n{END}\ntext\n{PEERS_BEGIN}\nold\n{PEERS_END}\n")
    used = {"ours": Idle(0.1, 500.0, 5), "Airflow 3": Idle(0.05, 800.0, 12)}

    write_docs(list(make_idle_figures("ours", used, 1000)), page)

    text = page.read_text()
    assert "kept" in text
    assert "old" not in text
    assert "| | at | ours | Airflow 3 | ratio |" in text
    assert "| idle, megabytes | 1,000 | 500 MB | 800 MB | 0.62 |" in text
    assert "- idle, cores: 0.05 cores in Airflow 3, 0.10 in ours" in text
    assert "Settings, Airflow 3: `core.executor` LocalExecutor;" in text
