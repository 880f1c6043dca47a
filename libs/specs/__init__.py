"""Specs: what people write, as typed and validated values (instances, schedules, manifests).

What belongs here: the models of documents, their text forms, and pure functions of them (the slots
of a schedule, the fingerprint of a spec). What must not: the database, Prefect, definitions
(provisioning checks whether a named definition exists and accepts the configuration).
"""

from prefect_instances.libs.specs.instances.backtests import BacktestSpec
from prefect_instances.libs.specs.instances.components import AccessorSpec, ComponentSpec, StoreSpec
from prefect_instances.libs.specs.instances.experiments import ExperimentSpec
from prefect_instances.libs.specs.instances.instance import DatasetSpec, InstanceFields, SignalSpec
from prefect_instances.libs.specs.instances.models import ModelSpec, PromotionSpec, SplitSpec
from prefect_instances.libs.specs.instances.optimizers import OptimizerSpec
from prefect_instances.libs.specs.instances.references import UpstreamRef
from prefect_instances.libs.specs.instances.registry import SPEC_TYPES, InstanceSpec
from prefect_instances.libs.specs.instances.signals import SignalContract
from prefect_instances.libs.specs.instances.sweeps import Point, SweepSpec
from prefect_instances.libs.specs.manifests.documents import (
    flow_fingerprint,
    output_fingerprint,
    parse_spec,
    read_spec,
    spec_document,
)
from prefect_instances.libs.specs.manifests.manifest import (
    Manifest,
    Survey,
    load_manifest,
    parse_manifest,
    survey_files,
    survey_manifest,
)
from prefect_instances.libs.specs.reading.problems import problems_of
from prefect_instances.libs.specs.timing.frequencies import expected_data_date, frequency_fault
from prefect_instances.libs.specs.timing.native import NativeCron
from prefect_instances.libs.specs.timing.schedules import ScheduleSpec, retry_delay
from prefect_instances.libs.specs.timing.sessions import list_sessions, session_hours
from prefect_instances.libs.specs.timing.slots import (
    INTERVAL_ANCHOR,
    due_window,
    is_session,
    is_slot,
    native_crons,
    native_zone,
    next_slot,
    served_slot,
    slots,
)

__all__ = [
    "INTERVAL_ANCHOR",
    "SPEC_TYPES",
    "AccessorSpec",
    "BacktestSpec",
    "ComponentSpec",
    "DatasetSpec",
    "ExperimentSpec",
    "InstanceFields",
    "InstanceSpec",
    "Manifest",
    "ModelSpec",
    "NativeCron",
    "OptimizerSpec",
    "Point",
    "PromotionSpec",
    "ScheduleSpec",
    "SignalContract",
    "SignalSpec",
    "SplitSpec",
    "StoreSpec",
    "Survey",
    "SweepSpec",
    "UpstreamRef",
    "due_window",
    "expected_data_date",
    "flow_fingerprint",
    "frequency_fault",
    "is_session",
    "is_slot",
    "list_sessions",
    "load_manifest",
    "native_crons",
    "native_zone",
    "next_slot",
    "output_fingerprint",
    "parse_manifest",
    "parse_spec",
    "problems_of",
    "read_spec",
    "retry_delay",
    "served_slot",
    "session_hours",
    "slots",
    "spec_document",
    "survey_files",
    "survey_manifest",
]
