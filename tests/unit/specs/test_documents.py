"""Documents in the user's spelling and ours, the way back, and the fingerprint of the output."""

from __future__ import annotations

import json
import string
from copy import deepcopy
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.specs import (
    ComponentSpec,
    DatasetSpec,
    ScheduleSpec,
    SignalContract,
    SignalSpec,
    StoreSpec,
    UpstreamRef,
    flow_fingerprint,
    output_fingerprint,
    parse_spec,
    spec_document,
)

FINGERPRINT_OF_THE_SHORTEST_SPEC = (
    "c0e57de574335781e7caf80af56b0ac30f1d2dffa0ca54258bd862858de92b27"
)
IDENTIFIER = "0b9fdd9c-3a1c-4b12-9e37-0d3c8c6f2a11"

SHORT: dict[str, Any] = {
    "name": "momentum",
    "type": "SignalInstance",
    "pipeline": {"definition": "expression", "version": "1.2.0", "config": {"lookback_days": 252}},
    "schedule": {"type": "cron", "expression": "0 6 * * 1-5", "timezone": "America/New_York"},
    "upstream_refs": [{"resource": "prices"}, {"resource": IDENTIFIER, "role": "covariance"}],
}

LONG: dict[str, Any] = {
    "type": "SignalInstance",
    "name": "momentum",
    "metadata_json": {
        "definition_resource_id": "expression",
        "definition_version_id": "1.2.0",
        "config_json": {"lookback_days": 252},
        "schedule_json": {
            "type": "cron",
            "expression": "0 6 * * 1-5",
            "timezone": "America/New_York",
        },
        "upstream_refs": [
            {"resource_id": "prices", "role": "input"},
            {"resource_id": IDENTIFIER.upper(), "role": "covariance"},
        ],
    },
}


def dataset(**fields: Any) -> DatasetSpec:
    return parse_spec({"name": "prices", "type": "DatasetInstance", "pipeline": "file", **fields})


def signal(**fields: Any) -> SignalSpec:
    spec = parse_spec({**deepcopy(SHORT), **fields})
    assert isinstance(spec, SignalSpec)
    return spec


def test_the_document_of_the_users_guide_means_the_same_as_the_short_one() -> None:
    assert parse_spec(LONG) == parse_spec(SHORT)


@pytest.mark.parametrize(
    "document",
    [
        {"definition": "file", "version": "1", "config": {"a": 1}},
        {"definition_resource_id": "file", "definition_version_id": "1", "config_json": {"a": 1}},
        {"pipeline": {"definition_resource_id": "file", "version": "1"}, "config_json": {"a": 1}},
        {"pipeline": "file", "definition_version_id": "1", "config": {"a": 1}},
        {"metadata_json": {"pipeline": {"definition": "file", "version": "1", "config": {"a": 1}}}},
        {
            "pipeline": {"definition": "file", "version": "", "config": {}, "instance": ""},
            "version": "1",
            "config": {"a": 1},
        },
        {
            "definition": "file",
            "definition_resource_id": "file",
            "pipeline": {"definition": "file", "version": "1", "config": {"a": 1}},
        },
    ],
    ids=["top level", "long", "mixed", "shorthand", "wrapped", "form", "said twice"],
)
def test_every_spelling_of_a_pipeline_means_the_same(document: dict[str, Any]) -> None:
    spec = parse_spec({"name": "prices", "type": "DatasetInstance", **document})
    assert spec.pipeline == ComponentSpec(definition="file", version="1", config={"a": 1})


def test_component_ids_stand_for_shared_components() -> None:
    spec = parse_spec(
        {
            "name": "prices",
            "type": "DatasetInstance",
            "pipeline_instance_id": IDENTIFIER,
            "store_instance_id": "shared_store",
            "accessor_instance_id": None,
        }
    )
    assert (spec.pipeline.instance, spec.pipeline.definition) == (IDENTIFIER, "")
    assert (spec.store.instance, spec.store.definition) == ("shared_store", "")
    assert (spec.accessor.instance, spec.accessor.definition) == ("", "simple")


@pytest.mark.parametrize("name", ["shared_store", "prices.store", IDENTIFIER])
def test_a_shared_component_is_named_by_itself_or_by_its_owner(name: str) -> None:
    assert dataset(store={"instance": name}).store.instance == name


def test_the_shortest_spec_is_name_type_and_pipeline() -> None:
    spec = parse_spec({"name": "prices", "type": "DatasetInstance", "pipeline": "market_data"})
    assert (spec.project, spec.store.definition, spec.accessor.definition) == (
        "default",
        "delta",
        "simple",
    )
    assert spec.schedule == ScheduleSpec()
    assert spec.run_on_provision


def test_a_store_that_only_gives_a_configuration_is_the_default_one() -> None:
    assert dataset(store={"config": {"a": 1}}).store == StoreSpec(config={"a": 1})


@pytest.mark.parametrize(
    ("given", "expected"),
    [(True, "yes"), (False, "no"), ("true", "yes"), ("no", "no"), ("", ""), (None, "")],
)
def test_triggers_may_be_said_as_a_boolean(given: Any, expected: str) -> None:
    ref = UpstreamRef.model_validate({"resource": "prices", "triggers": given})
    assert ref.triggers == expected
    assert ref.triggering == {"yes": True, "no": False, "": None}[expected]


def test_empty_values_count_as_not_given() -> None:
    spec = dataset(description=None, schedule=None, upstream_refs=None, project=None)
    assert spec == dataset()


def test_python_values_become_what_json_can_hold() -> None:
    spec = dataset(
        definition_version_id=UUID(IDENTIFIER),
        config_json={"start": date(2015, 1, 1), "symbols": ("A", "B"), "type": InstanceType.MODEL},
    )
    assert spec.pipeline.version == IDENTIFIER
    assert spec.pipeline.config == {
        "start": "2015-01-01",
        "symbols": ["A", "B"],
        "type": "ModelInstance",
    }


def test_a_spec_is_built_from_models_as_well_as_from_mappings() -> None:
    built = DatasetSpec(
        name="prices",
        pipeline=ComponentSpec(definition="file"),
        store=ComponentSpec(definition="parquet"),
        upstream_refs=[UpstreamRef(resource="a")],
    )
    assert built == dataset(store="parquet", upstream_refs=["a"])


def test_white_space_around_a_name_is_dropped() -> None:
    assert dataset(name=" prices ").name == "prices"


def test_the_document_of_a_spec_leaves_out_what_goes_without_saying() -> None:
    assert spec_document(dataset(store={"instance": "shared"}, schedule={"type": "manual"})) == {
        "name": "prices",
        "type": "DatasetInstance",
        "pipeline": {"definition": "file"},
        "store": {"instance": "shared"},
    }


def test_parsing_leaves_the_document_as_it_was() -> None:
    before = deepcopy(LONG)
    parse_spec(LONG)
    assert before == LONG


def test_problems_are_below_the_path_that_was_given() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec({"type": "DatasetInstance", "name": "a", "pipeline": 3}, "instances[2]")
    assert [problem.path for problem in caught.value.problems] == ["instances[2].pipeline"]


# --- the way back, for any spec ---------------------------------------------------------------

words = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
names = st.builds(
    lambda first, rest: first + "_" + rest, st.sampled_from(string.ascii_letters), words
)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
data = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(texts, data, max_size=3)
components = st.builds(
    lambda definition, version, config: {
        "definition": definition,
        "version": version,
        "config": config,
    },
    names,
    st.sampled_from(["", "1.0.0", IDENTIFIER]),
    configs,
) | st.builds(lambda name: {"instance": name}, names)
schedules = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("cron"), "expression": st.sampled_from(["0 6 * * 1-5", "*/5 * * * *"])},
        optional={
            "timezone": st.sampled_from(["Asia/Tokyo", "America/New_York"]),
            "grace_minutes": st.integers(0, 500),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("interval"), "minutes": st.integers(1, 10_000)},
        optional={"enabled": st.booleans(), "max_retries": st.integers(0, 5)},
    ),
    st.fixed_dictionaries({"backoff": st.sampled_from(["none", "linear", "exponential"])}),
)
references = st.lists(
    st.fixed_dictionaries(
        {"resource": names.map(lambda name: f"elsewhere/{name}")},
        optional={
            "role": names,
            "require": st.sampled_from(["", "ready", "data", "none"]),
            "triggers": st.booleans(),
        },
    ),
    max_size=3,
    unique_by=lambda ref: ref["resource"].lower(),
)
bounds = st.floats(-100, 0) | st.none()
contracts = st.fixed_dictionaries(
    {},
    optional={
        "min_value": bounds,
        "max_value": st.floats(0, 100),
        "allow_nan": st.booleans(),
        "neutral_value": st.just(0),
        "index_columns": st.lists(names, min_size=1, max_size=3, unique=True),
    },
)
common: dict[str, Any] = {
    "name": names,
    "project": names,
    "description": texts,
    "pipeline": components,
    "store": components,
    "accessor": components,
    "schedule": schedules,
    "upstream_refs": references,
    "run_on_provision": st.booleans(),
}
specs = st.one_of(
    st.fixed_dictionaries({"type": st.just("DatasetInstance"), **common}),
    st.fixed_dictionaries({"type": st.just("SignalInstance"), "signal": contracts, **common}),
).map(parse_spec)


@given(specs)
def test_the_document_of_any_spec_gives_an_equal_spec_back(spec: DatasetSpec) -> None:
    document = json.loads(json.dumps(spec_document(spec), allow_nan=False))
    again = parse_spec(document)
    assert again == spec
    assert type(again) is type(spec)
    assert spec_document(again) == spec_document(spec)
    assert output_fingerprint(again) == output_fingerprint(spec)


# --- what decides the output ------------------------------------------------------------------

BASE = signal(signal={"min_value": -1, "max_value": 1}, project="demo")


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": {**SHORT["pipeline"], "definition": "file"}},
        {"pipeline": {**SHORT["pipeline"], "version": "1.3.0"}},
        {"pipeline": {**SHORT["pipeline"], "config": {"lookback_days": 251}}},
        {"store": {"instance": "shared"}},
        {"accessor": {"definition": "latest"}},
        {"upstream_refs": SHORT["upstream_refs"][:1]},
        {"upstream_refs": SHORT["upstream_refs"][::-1]},
        {"upstream_refs": [{"resource": "prices", "flow": "x"}, SHORT["upstream_refs"][1]]},
        {"signal": {"min_value": -1, "max_value": 2}},
    ],
    ids=["definition", "version", "config", "store", "accessor", "refs", "order", "flow", "signal"],
)
def test_what_decides_the_output_changes_the_fingerprint(change: dict[str, Any]) -> None:
    changed = {"signal": {"min_value": -1, "max_value": 1}, "project": "demo", **change}
    assert output_fingerprint(signal(**changed)) != output_fingerprint(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"description": "something else"},
        {"schedule": {"type": "manual"}},
        {"run_on_provision": False},
        {"executor": {"definition": "dask", "config": {"address": "tcp://scheduler:8786"}}},
        {"pipeline": {**SHORT["pipeline"], "config": {"lookback_days": 252.0}}},
        {
            "upstream_refs": [
                {"resource": "demo/Prices", "triggers": "no", "require": "data"},
                SHORT["upstream_refs"][1],
            ]
        },
    ],
    ids=["name", "description", "schedule", "first run", "executor", "1.0 for 1", "edge policy"],
)
def test_what_does_not_decide_the_output_leaves_the_fingerprint(change: dict[str, Any]) -> None:
    changed = {"signal": {"min_value": -1, "max_value": 1}, "project": "demo", **change}
    assert output_fingerprint(signal(**changed)) == output_fingerprint(BASE)


def test_the_fingerprint_of_a_spec_is_the_same_in_every_release() -> None:
    """It is stored: a change of it would make every instance stale."""
    assert output_fingerprint(dataset()) == FINGERPRINT_OF_THE_SHORTEST_SPEC


def test_a_dataset_and_the_signal_made_of_it_differ_in_their_fingerprint() -> None:
    promoted = SignalSpec.model_validate({**dataset().document(), "signal": SignalContract()})
    assert output_fingerprint(promoted) != output_fingerprint(dataset())


# --- the forms --------------------------------------------------------------------------------


def properties_of(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    parts = {"": schema, **schema["$defs"]}
    return [
        (f"{part}.{name}", field)
        for part, model in parts.items()
        for name, field in model["properties"].items()
    ]


@pytest.mark.parametrize("model", [DatasetSpec, SignalSpec])
def test_every_field_of_a_form_is_explained(model: type[DatasetSpec]) -> None:
    for name, field in properties_of(model.model_json_schema()):
        assert field.get("description"), name
        assert field.get("examples"), name
        assert field.get("title") or "$ref" in field, name


@pytest.mark.parametrize("model", [DatasetSpec, SignalSpec])
def test_no_field_of_a_form_is_drawn_as_tabs(model: type[DatasetSpec]) -> None:
    for name, field in properties_of(model.model_json_schema()):
        assert not {"anyOf", "oneOf", "allOf"} & field.keys(), name


def test_a_schema_shows_the_short_names_only() -> None:
    schema = json.dumps(SignalSpec.model_json_schema())
    for alias in ("definition_resource_id", "config_json", "resource_id", "metadata_json"):
        assert alias not in schema


def test_the_examples_of_the_form_are_valid() -> None:
    example = {
        name: field["examples"][0]
        for name, field in SignalSpec.model_json_schema()["properties"].items()
    }
    assert parse_spec({**example, "upstream_refs": ["other"]}).name == example["name"]


@pytest.mark.parametrize("part", [ComponentSpec, UpstreamRef, ScheduleSpec, SignalContract])
def test_the_defaults_of_every_optional_part_are_valid(part: type[Any]) -> None:
    required = {"resource": "a"} if part is UpstreamRef else {}
    filled = {"definition": "file"} if part is ComponentSpec else required
    model = part.model_validate(filled)
    assert part.model_validate(model.model_dump()) == model


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"description": "x"}, set()),
        ({"schedule": {"training": {"type": "cron", "expression": "0 6 1 * *"}}}, set()),
        ({"monitoring": {"drift_threshold": 0.1}}, {"monitoring"}),
        ({"split": {"validation": 0.3}}, {"training"}),
        ({"module": {"definition": "ridge", "config": {"alpha": 2.0}}}, {"training"}),
        ({"upstream_refs": ["index"]}, {"training", "inference", "monitoring"}),
    ],
)
def test_a_change_of_a_model_concerns_the_flows_that_it_decides(
    change: dict[str, Any], kinds: set[str]
) -> None:
    model = {
        "name": "m",
        "type": "ModelInstance",
        "module": {"definition": "ridge"},
        "features": [{"role": "input", "column": "close"}],
        "upstream_refs": ["prices"],
    }
    before, after = parse_spec(model), parse_spec({**model, **change})
    every = ("training", "inference", "monitoring")
    assert {k for k in every if flow_fingerprint(before, k) != flow_fingerprint(after, k)} == kinds
