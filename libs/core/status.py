"""The vocabulary of states: flow statuses, reasons, lifecycles and groups of them."""

from __future__ import annotations

from enum import StrEnum


class FlowStatus(StrEnum):
    """Status of one flow execution resource."""

    NOT_INITIALIZED = "NOT_INITIALIZED"
    RUNNING = "RUNNING"
    READY = "READY"
    STALE = "STALE"
    ERROR = "ERROR"


class IdleEnd(StrEnum):
    """Names of the Completed states of flow runs in Prefect that did no work."""

    SKIPPED = "Skipped"
    UPSTREAM_NOT_READY = "UpstreamNotReady"
    NOT_A_SESSION = "NotASession"


class Reason(StrEnum):
    """Why a flow has its status; each code has one message in ``MESSAGES``."""

    NEVER_RAN = "NeverRan"
    RUN_STARTED = "RunStarted"
    RUN_SUCCEEDED = "RunSucceeded"
    REVALIDATED = "Revalidated"
    UPSTREAM_ADVANCED = "UpstreamAdvanced"
    STARVED = "Starved"
    CONFIG_CHANGED = "ConfigChanged"
    PAST_DUE = "PastDue"
    SOURCE_DELAYED = "SourceDelayed"
    DRIFT_DETECTED = "DriftDetected"
    RUN_FAILED = "RunFailed"
    RUN_CRASHED = "RunCrashed"
    RUN_CANCELLED = "RunCancelled"
    DEFINITION_UNAVAILABLE = "DefinitionUnavailable"


MESSAGES: dict[Reason, str] = {
    Reason.NEVER_RAN: "no run has succeeded yet",
    Reason.RUN_STARTED: "a run is in progress",
    Reason.RUN_SUCCEEDED: "the last run succeeded and its inputs are current",
    Reason.REVALIDATED: "upstream was refreshed without a change, so the output is still current",
    Reason.UPSTREAM_ADVANCED: "an upstream has newer output than the last run read",
    Reason.STARVED: "upstreams advance faster than this flow can follow",
    Reason.CONFIG_CHANGED: "the configuration changed since the last run",
    Reason.PAST_DUE: "the scheduled refresh is overdue",
    Reason.SOURCE_DELAYED: "the source has not delivered the data that the schedule expects",
    Reason.DRIFT_DETECTED: "monitoring found drift beyond the threshold",
    Reason.RUN_FAILED: "the last run failed",
    Reason.RUN_CRASHED: "the process of the last run died",
    Reason.RUN_CANCELLED: "the last run was cancelled",
    Reason.DEFINITION_UNAVAILABLE: "a definition that it needs cannot be used, so nothing ran",
}
"""Stable texts: they hold no times, names or numbers, so that equal states have equal messages."""

OVERTAKEN = frozenset({Reason.UPSTREAM_ADVANCED, Reason.STARVED})
"""Reasons of a STALE flow that can become READY without a run, if its upstreams revalidate."""


class Lifecycle(StrEnum):
    """State of an instance between provisioning and removal."""

    PROVISIONING = "PROVISIONING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    FAILED = "FAILED"
    DEPROVISIONING = "DEPROVISIONING"


class Freshness(StrEnum):
    """The freshness that people see; derived from status, reason and schedule, never stored."""

    FRESH = "FRESH"
    STALE = "STALE"
    UNKNOWN = "UNKNOWN"
    REFRESHING = "REFRESHING"
    FAILED = "FAILED"
    SOURCE_DELAYED = "SOURCE_DELAYED"


class FlowKind(StrEnum):
    """The fixed kinds of flow; a definition may add others by name."""

    REFRESH = "refresh"
    PREVIEW = "preview"
    TRAINING = "training"
    INFERENCE = "inference"
    MONITORING = "monitoring"
    OPTIMIZE = "optimize"
    BACKTEST = "backtest"


TRIGGERED_BY_DEFAULT = frozenset(
    {FlowKind.REFRESH, FlowKind.INFERENCE, FlowKind.MONITORING, FlowKind.OPTIMIZE}
)
"""Kinds of flow that become due when an upstream publishes, unless the edge says otherwise."""


class RunStatus(StrEnum):
    """Status of one run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """Why a run started."""

    GATE = "gate"
    SCHEDULE = "schedule"
    MANUAL = "manual"
    PROVISION = "provision"
    CONFIG = "config"
    RETRY = "retry"
    RECURSIVE = "recursive"
    BACKFILL = "backfill"
    RERUN = "rerun"


class Require(StrEnum):
    """The state that an edge requires of its upstream before the downstream may run."""

    READY = "ready"
    DATA = "data"
    NONE = "none"


class Mode(StrEnum):
    """How much a refresh reads from its source."""

    INCREMENTAL = "incremental"
    FULL = "full"


class InstanceType(StrEnum):
    """The instance types of the domain."""

    DATASET = "DatasetInstance"
    SIGNAL = "SignalInstance"
    EXPERIMENT = "ExperimentInstance"
    MODEL = "ModelInstance"
    OPTIMIZER = "PortfolioOptimizerInstance"
    BACKTEST = "BacktestInstance"
