"""The flow parameter for an instance: a saved block or an inline document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from prefect_instances.blocks.backtest_instance import BacktestInstance
from prefect_instances.blocks.dataset_instance import DatasetInstance
from prefect_instances.blocks.experiment_instance import ExperimentInstance
from prefect_instances.blocks.instance_block import SLUG_KEY, VENDOR_KEYS, InstanceBlock
from prefect_instances.blocks.model_instance import ModelInstance
from prefect_instances.blocks.portfolio_optimizer_instance import PortfolioOptimizerInstance
from prefect_instances.blocks.signal_instance import SignalInstance
from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.specs import InstanceSpec, parse_spec
from prefect_instances.libs.specs.reading.problems import kind_of

BLOCKS: tuple[type[InstanceBlock], ...] = (
    DatasetInstance,
    SignalInstance,
    ExperimentInstance,
    ModelInstance,
    PortfolioOptimizerInstance,
    BacktestInstance,
)
"""The block classes, one for each type of instance."""

_BY_TAG = {block.tag(): block for block in BLOCKS}
_TAG_OF_SLUG = {block.get_block_type_slug(): block.tag() for block in BLOCKS}


def block_for(spec: InstanceSpec) -> InstanceBlock:
    """Return an unsaved block that holds a spec."""
    return _BY_TAG[spec.type].from_spec(spec)


def block_from(document: Mapping[str, Any]) -> InstanceBlock:
    """Return the block of an inline document by its ``type``; raise ``InvalidSpec`` if invalid.

    A dumped block is accepted too: Prefect's own keys in it are dropped, and its slug replaces a
    missing type.
    """
    if not isinstance(document, Mapping):
        raise InvalidSpec(
            [Problem("", f"must be a mapping or a saved block, not {kind_of(document)}")]
        )
    own = {key: value for key, value in document.items() if key not in VENDOR_KEYS}
    tag = _TAG_OF_SLUG.get(document.get(SLUG_KEY, ""))
    if tag and "type" not in own:
        own["type"] = tag
    return block_for(parse_spec(own))


def _by_type(value: Any) -> Any:
    return value if isinstance(value, InstanceBlock) else block_from(value)


AnyInstance = Annotated[
    DatasetInstance
    | SignalInstance
    | ExperimentInstance
    | ModelInstance
    | PortfolioOptimizerInstance
    | BacktestInstance,
    BeforeValidator(_by_type),
]
"""Type of a flow parameter that takes a saved block, or the same fields inline.

In a form it is the plain union: one tab for each class, each with a picker. Inline documents are
read by their ``type``, and faults are reported once, instead of once for every class of the union.
"""
