"""Tear sheets of published signals: from Python, on the command line, and in a signal's runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import prefect_instances
from prefect_instances.cli.app import main
from prefect_instances.libs.core.errors import DataRejected, NotFound
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
