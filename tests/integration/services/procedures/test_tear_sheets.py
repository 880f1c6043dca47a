"""Tear sheets of published signals: from Python, on the command line, and in a signal's runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import prefect_instances
from prefect_instances.cli.app import main
from prefect_instances.libs.core.errors import DataRejected, NotFound
from prefect_instances.libs.db.repositories.trials import select_trial_runs
from prefect_instances.libs.services.lifecycle.promotion import build_promoted_spec
from prefect_instances.libs.services.procedures.trials import count_trials
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench, derived, prices


@pytest.fixture
def desk(bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Prices, a signal that knows the next five days, its negation, and a dataset beside them."""
    settings = bench.services.settings
    monkeypatch.setenv("INSTANCES_HOME", str(settings.home))
    monkeypatch.setenv("INSTANCES_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PREFECT_API_URL", bench.services.prefect.api_url)
    bench.provision(prices(project))
    signal = {"type": "SignalInstance", "signal": {"allow_nan": True}}
    past = derived(project, "reversal", "-1 * DELTA(close, 5) / REF(close, 5)", "prices")
    bench.provision({**past, **signal, "tear_sheet": True})
    momentum = derived(project, "momentum", "DELTA(close, 5) / REF(close, 5)", "prices")
    bench.provision({**momentum, **signal})
    bench.drain()
    return project


def test_a_signal_is_judged_from_python_the_command_line_and_in_its_run(
    desk: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = prefect_instances.tear_sheet(f"{desk}/reversal", horizons=[1, 5], quantiles=3)
    figures = found.figures
    assert figures.assets == 3
    assert [one.horizon for one in figures.horizons] == [1, 5]
    assert figures.others == {"momentum": pytest.approx(-1.0)}
    assert all(math.isfinite(one.t) for one in figures.horizons)
    other = prefect_instances.tear_sheet("momentum", horizons=[5], quantiles=3).figures
    assert other.horizons[0].rank_ic == pytest.approx(-figures.horizons[1].rank_ic)

    page = found.save(tmp_path / "sheet.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "<table>" in page
    assert "http" not in page

    with pytest.raises(SystemExit) as ended:
        main(["tear-sheet", "reversal", "--horizons", "5", "--quantiles", "3", "--json"])
    assert not ended.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed["horizons"][0]["rank_ic"] == figures.horizons[1].rank_ic

    with pytest.raises(SystemExit):
        main(["tear-sheet", "reversal", "--quantiles", "3"])
    assert "reversal: " in capsys.readouterr().out

    for name, expected in (("reversal", ["tear-sheet"]), ("momentum", [])):
        run = reports.runs(bench.services.database, name)["runs"][0]["id"]
        pages = reports.run_info(bench.services.database, run)["artifacts"]
        assert [page["key"] for page in pages] == expected


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("prices", {}, DataRejected),
        ("reversal", {"price_column": "adjusted"}, DataRejected),
        ("no_such", {}, NotFound),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    desk: str, name: str, options: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        prefect_instances.tear_sheet(f"{desk}/{name}", **options)  # type: ignore[arg-type]  # texts only
    assert "\n" not in str(raised.value)


def test_a_run_of_a_sweep_records_each_point_and_the_output_is_the_first(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.drain()
    idea = {"name": "idea", "project": project, "type": "ExperimentInstance", "horizons": [5]}
    idea["upstream_refs"] = [{"resource": "prices"}]
    grid = {"window": [21, 5, 300], "back": [1]}
    text = "DELTA(close, $window) / REF(close, $back)"
    bench.provision({**idea, "expression": text, "sweep": {"grid": grid}})
    bench.provision({**idea, "name": "one", "expression": "DELTA(close, 5) / REF(close, 1)"})
    bench.drain()

    shown = {}
    for name in ("idea", "one"):
        run = reports.runs(bench.services.database, name)["runs"][0]["id"]
        shown[name] = reports.run_info(bench.services.database, run)
    metrics = shown["idea"]["metrics"]
    points = metrics["sweep"]
    assert list(points) == [f"window = {window}, back = 1" for window in (21, 5, 300)]
    assert metrics["points"] == 3
    assert metrics["ic_5"] == points["window = 21, back = 1"]["rank_ic"]
    assert shown["one"]["metrics"]["ic_5"] == points["window = 5, back = 1"]["rank_ic"]
    assert "looks 300 rows back" in points["window = 300, back = 1"]["reason"]
    assert [page["key"] for page in shown["idea"]["artifacts"]] == [
        "statistics",
        "sweep",
        "sweep-map",
    ]
    with bench.services.database.read() as session:
        known = select_trial_runs(session, {bench.flow_id("idea"), bench.flow_id("one")})
    assert count_trials(known, bench.instance_id("prices"), 1).count == 1 + 3 + 1
    promoted = build_promoted_spec(bench.services, "idea", "alpha", {"allow_nan": True})
    assert promoted.pipeline.config["expression"] == "DELTA(close, 21) / REF(close, 1)"
