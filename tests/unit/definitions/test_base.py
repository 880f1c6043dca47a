"""What a definition declares, and how its parameters and upstreams are checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import BaseModel, Field

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.definitions import (
    Accessor,
    CompatibilityRules,
    DefinitionKind,
    Extract,
    ExtractContext,
    Input,
    Pipeline,
    Query,
    UpstreamShape,
)


class Minimal(Pipeline):
    """The shortest definition there is."""

    name = "minimal"
    version = "1.0.0"

    def extract(
        self, context: ExtractContext, inputs: Sequence[Input], since: date | None
    ) -> Extract:
        return Extract(pl.DataFrame({"date": [date(2024, 1, 1)], "symbol": "A", "x": 1.0}), True)


class Window(BaseModel, extra="forbid"):
    days: int = Field(ge=1)


class Configured(Minimal):
    """One with parameters.

    And a second paragraph.
    """

    name = "configured"
    compatibility_rules = CompatibilityRules(("DatasetInstance",), 1, 2)

    class Config(Minimal.Config):
        window: Window
        factor: float = 1.0

    config: Config


def test_a_minimal_definition_works_with_all_the_defaults() -> None:
    definition = Minimal()
    assert definition.declaration_problems() == []
    assert definition.kind is DefinitionKind.PIPELINE
    assert definition.data_frequency is None
    assert definition.check([]) == []
    assert Minimal.status_aggregation_contract["aggregation_method"] == "min_severity"


def test_parameters_are_validated_and_typed() -> None:
    assert Configured({"window": {"days": "3"}}).config.window.days == 3
    assert Configured(Configured.Config(window=Window(days=3))).config.factor == 1.0


def test_every_problem_of_the_parameters_is_reported_with_its_path() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Configured({"window": {"days": 0, "day": 1}, "factr": 2, "factor": "much"})
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["config.factor", "config.factr", "config.window.day", "config.window.days"]
    assert "did you mean 'factor'?" in caught.value.problems[1].message


def test_a_value_that_was_refused_is_not_repeated() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Configured({"window": {"days": 3}, "factor": "hunter2", "hunter2x": "hunter2"})
    assert "hunter2'" not in str(caught.value)


def test_parameters_of_another_definition_are_validated_anew() -> None:
    with pytest.raises(InvalidSpec):
        Configured(Minimal.Config())


def test_the_description_is_json_and_complete() -> None:
    described = json.loads(json.dumps(Configured.describe()))
    assert described["description"] == "One with parameters."
    assert described["kind"] == "PipelineDef"
    assert set(described["parameters_schema"]["properties"]) == {"window", "factor"}
    assert described["compatibility_rules"] == {
        "upstream_types": ["DatasetInstance"],
        "min_upstreams": 1,
        "max_upstreams": 2,
    }
    assert len(described["content_hash"]) == 64


def shapes(*types: str) -> list[UpstreamShape]:
    return [UpstreamShape(f"r{i}", "input", kind) for i, kind in enumerate(types)]


@pytest.mark.parametrize(
    ("upstreams", "paths"),
    [
        (shapes("DatasetInstance"), []),
        (shapes("DatasetInstance", "DatasetInstance"), []),
        (shapes(), ["upstream_refs"]),
        (shapes(*["DatasetInstance"] * 3), ["upstream_refs"]),
        (shapes("DatasetInstance", "ModelInstance"), ["upstream_refs[1]"]),
        (
            shapes(*["ModelInstance"] * 3),
            ["upstream_refs", *(f"upstream_refs[{i}]" for i in range(3))],
        ),
    ],
)
def test_upstreams_are_checked_against_the_rules(
    upstreams: list[UpstreamShape], paths: list[str]
) -> None:
    problems = Configured({"window": {"days": 1}}).check(upstreams)
    assert [problem.path for problem in problems] == paths


def source(tmp_path: Path, text: str) -> str:
    """The content hash of a definition in a module with that text."""
    (tmp_path / "some_plugin.py").write_text(text)
    code = "import some_plugin; print(some_plugin.Some.content_hash())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    return result.stdout.strip()


PLUGIN = """
from prefect_instances.libs.definitions import Accessor

class Some(Accessor):
    name, version = "some", "1.0.0"
    def read(self, frame, query):
        return frame.head({rows})
"""


def test_the_content_hash_tells_code_apart_but_not_line_ends(tmp_path: Path) -> None:
    first = source(tmp_path, PLUGIN.format(rows=1))
    assert source(tmp_path, PLUGIN.format(rows=1).replace("\n", "\r\n")) == first
    assert source(tmp_path, PLUGIN.format(rows=2)) != first


def test_importing_the_sdk_imports_no_heavy_library() -> None:
    code = (
        "import sys, prefect_instances.libs.definitions;"
        "heavy = {'polars', 'pandas', 'numpy', 'deltalake', 'sklearn', 'skfolio', 'prefect'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


class Wrong(Accessor):
    version = "1.0"

    class Config(BaseModel):
        pass


def test_a_wrong_declaration_is_told_in_full() -> None:
    problems = Wrong.declaration_problems()
    assert [problem.path for problem in problems] == ["name", "version", "Config", ""]


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        ExtractContext("x", datetime(2024, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="aware"):
        Query(knowledge_time=datetime(2024, 1, 1))  # noqa: DTZ001
    assert Query(knowledge_time=datetime(2024, 1, 1, tzinfo=UTC)).as_of is None
