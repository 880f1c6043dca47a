"""The schema that editors use: current, and of one mind with the reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import parse_manifest
from prefect_instances.libs.specs.manifests.schema import FILE_NAME, manifest_schema
from prefect_instances.libs.specs.manifests.text import read_yaml, write_yaml

ROOT = Path(__file__).parents[3]
SCHEMA = manifest_schema()


def written() -> list[tuple[str, Any]]:
    """Every manifest that the project shows to people."""
    texts = {"demo": (ROOT / "cli" / "demo.yaml").read_text()}
    for page in (ROOT / "docs" / "examples.md", ROOT / "README.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
        texts |= {f"{page.stem}-{at}": text for at, text in enumerate(blocks)}
    loaded = {name: read_yaml(text)[0][0] for name, text in texts.items()}
    return [(name, found) for name, found in loaded.items() if "instances" in (found or {})]


def faults(document: Any) -> list[str]:
    found = Draft202012Validator(SCHEMA).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_the_committed_schema_is_current() -> None:
    committed = (ROOT / "docs" / FILE_NAME).read_text()

    assert json.loads(committed) == json.loads(json.dumps(SCHEMA)), (
        f"write it again: instances schema > docs/{FILE_NAME}"
    )


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("document", [item[1] for item in written()], ids=[i[0] for i in written()])
def test_every_manifest_that_is_shown_satisfies_it(document: Any) -> None:
    assert faults(document) == []


def dataset(**change: Any) -> dict[str, Any]:
    base = {"name": "prices", "type": "DatasetInstance", "pipeline": {"definition": "market_data"}}
    return {"instances": [{**base, **change}]}


OTHER_SPELLINGS: list[dict[str, Any]] = [
    dataset(store="delta"),
    dataset(upstream_refs=["index"]),
    dataset(upstream_refs=[{"resource_id": "index", "triggers": False}]),
    dataset(schedule_json={"type": "interval", "minutes": 30}),
    {"instances": [{"name": "a", "type": "DatasetInstance", "definition": "market_data"}]},
    {"x-common": {"anything": 1}, **dataset()},
    dataset()["instances"][0],
]


@pytest.mark.parametrize("document", OTHER_SPELLINGS)
def test_what_the_reader_accepts_satisfies_it(document: dict[str, Any]) -> None:
    parse_manifest(document)

    assert faults(document) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    (dataset(colour="red"), "colour"),
    (dataset(type="DataInstance"), "DataInstance"),
    (dataset(schedule={"type": "daily"}), "daily"),
    (dataset(upstream_refs=[{"role": "input"}]), "upstream_refs"),
    ({"instances": [{"name": "a"}]}, "type"),
    ({"project": "demo", "instances": {}}, "instances"),
    ({"proyect": "demo", "instances": []}, "proyect"),
]


@pytest.mark.parametrize(("document", "word"), WRONG)
def test_what_the_reader_refuses_breaks_it(document: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_manifest(document)

    assert any(word in fault for fault in faults(document))


TRAPS = ["ON", "1e-3", "000001", "16:00", "2015-01-01", "~", "<<", "0x1F", "*a", "a: b", "", "yes"]
TEXTS = st.sampled_from(TRAPS) | st.text(st.characters(codec="utf-8", exclude_categories=("C",)))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_what_is_written_as_yaml_is_read_back_equal(document: dict[str, Any]) -> None:
    assert read_yaml(write_yaml(document)) == ([document], [])
