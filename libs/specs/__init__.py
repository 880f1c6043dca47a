"""What people ask for, as typed and validated values: instances, schedules, manifests.

What belongs here: the models of documents, their text forms, and pure functions of them (the
slots of a schedule, the fingerprint of a spec). What must not: the database, Prefect, definitions
(whether a named definition exists and takes the configuration is checked by provisioning).
"""

from libs.specs.backtests import BacktestSpec
from libs.specs.components import AccessorSpec, ComponentSpec, StoreSpec
from libs.specs.documents import (
    flow_fingerprint,
    output_fingerprint,
    parse_spec,
    read_spec,
    spec_document,
)
from libs.specs.experiments import ExperimentSpec
from libs.specs.frequencies import expected_data_date, frequency_fault
from libs.specs.instances import DatasetSpec, InstanceFields, SignalSpec
from libs.specs.manifest import (
    Manifest,
    Survey,
    load_manifest,
    parse_manifest,
    survey_files,
    survey_manifest,
)
from libs.specs.models import ModelSpec, PromotionSpec
from libs.specs.optimizers import OptimizerSpec
from libs.specs.problems import problems_of
from libs.specs.references import UpstreamRef
from libs.specs.schedules import ScheduleSpec, retry_delay
from libs.specs.sessions import session_hours
from libs.specs.signals import SignalContract
from libs.specs.slots import (
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
from libs.specs.types import SPEC_TYPES, InstanceSpec

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
    "OptimizerSpec",
    "PromotionSpec",
    "ScheduleSpec",
    "SignalContract",
    "SignalSpec",
    "StoreSpec",
    "Survey",
    "UpstreamRef",
    "due_window",
    "expected_data_date",
    "flow_fingerprint",
    "frequency_fault",
    "is_session",
    "is_slot",
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
