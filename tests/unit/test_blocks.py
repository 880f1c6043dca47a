"""Block classes: fields from the specs, forms that Prefect draws, and documents both ways."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow
from prefect.blocks.core import Block, block_schema_to_key
from prefect.utilities.callables import parameter_schema
from prefect.utilities.dispatch import get_dispatch_key
from prefect.utilities.schema_tools.validation import validate
from pydantic import TypeAdapter, ValidationError

from prefect_instances import blocks
from prefect_instances.blocks import (
    BLOCKS,
    AnyInstance,
    DatasetInstance,
    SignalInstance,
    block_for,
    block_from,
)
from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.ids import block_document_name
from prefect_instances.libs.specs import (
    DatasetSpec,
    InstanceSpec,
    SignalSpec,
    parse_spec,
)

PRICES: dict[str, Any] = {
    "name": "sp500_prices",
    "type": "DatasetInstance",
    "project": "demo",
    "pipeline": {"definition": "market_data", "config": {"symbols": ["ON", "AAPL"]}},
    "schedule": {"type": "cron", "expression": "0 6 * * 1-5", "timezone": "America/New_York"},
}
MOMENTUM: dict[str, Any] = {
    "name": "momentum",
    "type": "SignalInstance",
    "project": "demo",
    "pipeline": {"definition": "expression"},
    "upstream_refs": [{"resource": "sp500_prices"}],
    "signal": {"min_value": -10},
}
LONG: dict[str, Any] = {
    "name": "sp500_prices",
    "metadata_json": {
        "project": "demo",
        "definition_resource_id": "market_data",
        "config_json": {"symbols": ["ON", "AAPL"]},
        "schedule_json": PRICES["schedule"],
    },
}
FAULTY: dict[str, Any] = {"name": "a b", "schedule": {"type": "cron", "timezone": "x"}}
PATHS_OF_FAULTY = ["name", "pipeline", "schedule.expression", "schedule.timezone"]


@flow(log_prints=False)
def provision(instance: AnyInstance, plan: bool = False) -> InstanceSpec:
    """Takes an instance as the lifecycle flows do."""
    del plan
    return instance.spec()


def run(parameter: Any, **options: Any) -> Any:
    """Run the flow with what a person gave as its parameter."""
    return provision(instance=parameter, **options)


def paths_of(error: InvalidSpec) -> list[str]:
    return [problem.path for problem in error.problems]


# --- classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "model", "slug"),
    [
        (DatasetInstance, DatasetSpec, "dataset-instance"),
        (SignalInstance, SignalSpec, "signal-instance"),
    ],
)
def test_a_block_class_has_the_fields_of_its_spec_and_no_others(
    block: Any, model: type[DatasetSpec], slug: str
) -> None:
    assert list(block.model_fields) == list(model.model_fields)
    assert block.get_block_type_slug() == slug
    assert block.tag() == block.__name__
    assert block.model_json_schema()["secret_fields"] == []


@pytest.mark.parametrize("block", BLOCKS)
def test_the_title_of_a_form_is_the_name_of_its_class(block: type[Block]) -> None:
    """Tabs show it, and Prefect's server looks up the definitions of a parameter by it."""
    assert block.model_json_schema()["title"] == block.__name__


@pytest.mark.parametrize("block", BLOCKS)
def test_prefect_finds_a_block_class_by_the_key_that_it_would_make(block: type[Block]) -> None:
    assert get_dispatch_key(block) == block_schema_to_key(block._to_block_schema())
    assert Block.get_block_class_from_key(block.get_block_type_slug()) is block


def test_only_our_own_block_classes_can_be_registered_from_the_package() -> None:
    found = {value for value in vars(blocks).values() if Block.is_block_class(value)}
    assert found == {*BLOCKS, blocks.Centrifugo, blocks.ObjectStore}


@pytest.mark.parametrize("document", [PRICES, MOMENTUM], ids=["dataset", "signal"])
def test_a_spec_survives_its_block(document: dict[str, Any]) -> None:
    spec = parse_spec(document)
    block = block_for(spec)
    assert type(block).__name__ == document["type"]
    assert block.spec() == spec
    assert type(block.spec()) is type(spec)
    assert type(block).model_validate(block.model_dump(mode="json")).spec() == spec


def test_a_block_accepts_the_spelling_of_the_users_document() -> None:
    assert DatasetInstance(**LONG).spec() == parse_spec(PRICES)


def test_a_faulty_block_is_refused_with_every_problem() -> None:
    with pytest.raises(ValidationError) as direct:
        DatasetInstance(**FAULTY)
    assert len(direct.value.errors()) == len(PATHS_OF_FAULTY)
    with pytest.raises(InvalidSpec) as loaded:
        DatasetInstance.model_validate(FAULTY)
    assert paths_of(loaded.value) == PATHS_OF_FAULTY


def test_a_block_that_was_changed_for_the_worse_has_no_spec() -> None:
    block = DatasetInstance(**PRICES)
    block.schedule.timezone = "Mars/Olympus"
    with pytest.raises(InvalidSpec) as caught:
        block.spec()
    assert paths_of(caught.value) == ["schedule.timezone"]


def test_a_block_of_one_type_refuses_the_document_of_another() -> None:
    for document in (MOMENTUM, SignalInstance(**MOMENTUM).model_dump()):
        with pytest.raises(InvalidSpec) as caught:
            DatasetInstance.model_validate(document)
        assert paths_of(caught.value)[0] in ("type", "block_type_slug")


# --- as parameters ----------------------------------------------------------------------------

INLINE: dict[str, tuple[dict[str, Any], type[Block]]] = {
    "by type": (MOMENTUM, SignalInstance),
    "dataset by type": (PRICES, DatasetInstance),
    "by slug": ({**LONG, "block_type_slug": "dataset-instance"}, DatasetInstance),
    "a dumped block": (SignalInstance(**MOMENTUM).model_dump(mode="json"), SignalInstance),
    "long": ({**LONG, "type": "DatasetInstance"}, DatasetInstance),
}


@pytest.mark.parametrize(("document", "expected"), INLINE.values(), ids=INLINE)
def test_an_inline_document_becomes_the_block_of_its_type(
    document: dict[str, Any], expected: type[Block]
) -> None:
    assert type(block_from(document)) is expected
    assert type(TypeAdapter(AnyInstance).validate_python(document)) is expected
    assert type(provision.validate_parameters({"instance": document})["instance"]) is expected


@pytest.mark.parametrize(("document", "expected"), INLINE.values(), ids=INLINE)
def test_prefects_plain_union_picks_the_same_class(
    document: dict[str, Any], expected: type[Block]
) -> None:
    plain = TypeAdapter(DatasetInstance | SignalInstance)
    assert type(plain.validate_python(document)) is expected


def test_a_block_as_parameter_is_handed_over_as_it_is() -> None:
    block = SignalInstance(**MOMENTUM)
    assert provision.validate_parameters({"instance": block})["instance"] is block


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({**FAULTY, "type": "DatasetInstance"}, PATHS_OF_FAULTY),
        ({**MOMENTUM, "signal": {"min": 1}}, ["signal.min"]),
        ({**MOMENTUM, "type": "Foo"}, ["type"]),
        (LONG, ["type"]),
        ("sp500_prices", [""]),
        (None, [""]),
        (3, [""]),
    ],
    ids=["fields", "nested", "unknown type", "no type", "text", "nothing", "number"],
)
def test_a_faulty_parameter_is_refused_once_with_every_problem(
    document: Any, paths: list[str]
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        provision.validate_parameters({"instance": document})
    assert paths_of(caught.value) == paths


def test_a_form_offers_one_tab_for_each_class() -> None:
    schema = parameter_schema(provision.fn).model_dump()
    tabs = [tab["$ref"] for tab in schema["properties"]["instance"]["anyOf"]]
    assert tabs == [f"#/definitions/{block.__name__}" for block in BLOCKS]


@pytest.mark.parametrize(
    "parameter",
    [
        {"$ref": {"block_document_id": "0b9fdd9c-3a1c-4b12-9e37-0d3c8c6f2a11"}},
        PRICES,
        MOMENTUM,
        {**MOMENTUM, "signal": {"min_value": None}},
        {key: v for key, v in INLINE["a dumped block"][0].items() if key != "block_type_slug"},
    ],
    ids=["saved", "dataset", "signal", "bound left empty", "every field of the form"],
)
def test_what_a_form_sends_passes_the_servers_check(parameter: dict[str, Any]) -> None:
    schema = parameter_schema(provision.fn).model_dump()
    assert validate({"instance": parameter}, schema) == []


@pytest.mark.parametrize("block", BLOCKS)
def test_the_form_of_a_block_can_be_saved_and_is_clear(block: type[InstanceBlock]) -> None:
    schema = block.model_json_schema()
    fields = schema["properties"]
    referenced = {name: field.get("$ref", "").rpartition("/")[2] for name, field in fields.items()}
    shown = [
        {**schema["definitions"].get(referenced[name], {}), **field}
        for name, field in fields.items()
    ]

    # Prefect's page has the values checked as a schema, in which `type` means something else.
    assert "type" not in fields
    assert [field["position"] for field in fields.values()] == list(range(len(fields)))
    assert list(fields)[:3] == ["name", "project", "description"]
    assert all(field.get("title") and field.get("description") for field in shown)
    assert all("examples" in field for name, field in fields.items() if "default" not in field)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_type_introduces_itself_and_its_example_works(block: type[InstanceBlock]) -> None:
    example = block.get_code_example()
    assert example
    code = example.replace("```python", "").replace("```", "").strip()
    made, saved = code.rsplit("\n", 1)

    names: dict[str, Any] = {}
    exec(made, names)  # the example that the page shows, all but its last line

    (example_block,) = [value for value in names.values() if isinstance(value, InstanceBlock)]
    spec = example_block.spec()
    assert type(example_block) is block
    assert f'.save("{block_document_name(spec.project, spec.name)}")' in saved
    assert block.get_description()
