"""The embargo of a model's split keeps its dates out of the training."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from prefect_instances.libs.services.procedures import features
from prefect_instances.libs.services.procedures.walk_forward import split_folds
from prefect_instances.libs.specs import ModelSpec, parse_spec

DAYS = 400
FIRST = date(2024, 1, 1)


@pytest.mark.parametrize("embargo", [0, 1, 7])
def test_the_dates_before_the_validation_are_left_out_as_the_configuration_says(
    monkeypatch: pytest.MonkeyPatch, embargo: int
) -> None:
    days = [FIRST + timedelta(days=day) for day in range(DAYS)]
    known = pl.DataFrame({"date": days, "symbol": ["A"] * DAYS, "x": [1.0] * DAYS})
    labels = known.select("date", "symbol", pl.col("date").alias(features.LABEL_END))
    monkeypatch.setattr(features, "build_targets", lambda _: labels)
    spec = parse_spec(
        {
            "type": "ModelInstance",
            "project": "p",
            "name": "m",
            "module": {"definition": "ridge"},
            "features": [{"role": "momentum", "column": "x"}],
            "upstream_refs": [{"resource": "prices", "role": "prices"}],
            "split": {"validation": 0.25, "embargo": embargo},
        }
    )
    assert isinstance(spec, ModelSpec)
    job: Any = SimpleNamespace(spec=spec)

    (made,) = split_folds(features.label_rows(job, known), spec.split, horizon=1)

    first = FIRST + timedelta(days=300)
    assert made.validation["date"].min() == first
    assert made.training["date"].max() == first - timedelta(days=embargo + 1)
