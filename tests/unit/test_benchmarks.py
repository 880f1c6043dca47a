"""What the benchmark judges and writes: ratios, targets, the page with its plots."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import pytest

import benchmarks.subjects
from benchmarks.__main__ import SUBJECTS, main
from benchmarks.record import Figure, Target
from benchmarks.report import BEGIN, END, document, write_docs


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


def test_every_subject_is_listed_once_and_can_be_imported() -> None:
    modules = {module.name for module in pkgutil.iter_modules(benchmarks.subjects.__path__)}

    assert sorted(SUBJECTS) == sorted(modules)
    for name in SUBJECTS:
        assert callable(importlib.import_module(f"benchmarks.subjects.{name}").measure)


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
