"""Changes to private parts of Prefect, each with its reason and a check that it still fits.

What belongs here: every replacement of a name of Prefect at run time. A patch whose target changed,
or whose Prefect has an untested minor version, is skipped with a warning in the log: the process
continues with Prefect unpatched. ``docs/decisions/0006`` has the numbers.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import prefect

from prefect_instances.libs.core.ids import read_run_name

TRIED = ("3.9",)
"""Minor versions of Prefect that the patches were tested with."""

logger = logging.getLogger("instances.patches")


@dataclass(frozen=True, slots=True)
class Patch:
    """One change: its reason, its target and its effect.

    ``target`` returns the callable of Prefect that the patch replaces or relies on; ``parameters``
    are the names that its signature must have.
    """

    name: str
    reason: str
    target: Callable[[], Callable[..., Any]]
    parameters: tuple[str, ...]
    change: Callable[[], None]
    versions: tuple[str, ...] = TRIED

    def misfit(self) -> str:
        """Return why the patch does not fit the installed Prefect; empty if it does."""
        version = ".".join(prefect.__version__.split(".")[:2])
        if version not in self.versions:
            return f"Prefect {version} was not tried"
        found = tuple(inspect.signature(self.target()).parameters)
        return "" if found == self.parameters else f"its target takes {found}"


def apply_patches(patches: Iterable[Patch]) -> list[str]:
    """Apply the patches that fit; return the names of those that were applied.

    A patch that does not fit or fails is logged and skipped.
    """
    applied = []
    for patch in patches:
        try:
            if misfit := patch.misfit():
                logger.warning("Prefect is not patched for %r: %s", patch.name, misfit)
                continue
            patch.change()
        except (AttributeError, ImportError, TypeError, ValueError) as error:
            logger.warning("Prefect is not patched for %r: %s", patch.name, error)
            continue
        applied.append(patch.name)
    return applied


def _begin_transaction() -> Callable[..., Any]:
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin: Callable[..., Any] = AioSqliteConfiguration.begin_transaction
    return begin


def _begin_as_writers() -> None:
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = _begin_transaction()

    def immediate(self: Any, session: Any, with_for_update: bool = False) -> Any:  # noqa: ARG001  # the caller's word does not count
        return begin(self, session, with_for_update=True)

    setattr(AioSqliteConfiguration, "begin_transaction", immediate)  # noqa: B010 - a method


def _create_app() -> Callable[..., Any]:
    from prefect.server.api import server

    return server.create_app


def _look_up_once() -> None:
    from prefect.server.api import server

    create = _create_app()
    current = functools.cache(create)

    def create_app(*args: Any, **options: Any) -> Any:
        return create(*args, **options) if args or options else current()

    setattr(server, "create_app", create_app)  # noqa: B010 - a function


def _create_ui() -> Callable[..., Any]:
    from prefect.server.api import server

    return server.create_ui_app


def _serve_pictures() -> None:
    from prefect.server.api import server

    from prefect_instances.libs.adapters.prefect.pictures import mount_pictures

    create = _create_ui()

    def create_ui_app(ephemeral: bool) -> Any:
        return mount_pictures(create(ephemeral))

    setattr(server, "create_ui_app", create_ui_app)  # noqa: B010 - a function


def _insert_scheduled() -> Callable[..., Any]:
    from prefect.server.models import deployments

    return deployments._insert_scheduled_flow_runs


def _name_scheduled_runs() -> None:
    from prefect.server.models import deployments
    from prefect.utilities.names import generate_slug

    insert = _insert_scheduled()

    async def insert_named(*, session: Any, runs: list[dict[str, Any]]) -> Any:
        # Rows of one insert have the same columns: those of other flows are named as Prefect does.
        for run in runs:
            ours = read_run_name(run["tags"], run["parameters"], scheduled=True)
            run["name"] = ours or generate_slug(2)
        return await insert(session=session, runs=runs)

    setattr(deployments, "_insert_scheduled_flow_runs", insert_named)  # noqa: B010 - a function


def _create_run() -> Callable[..., Any]:
    from prefect.server.models import flow_runs

    return flow_runs.create_flow_run


def _name_created_runs() -> None:
    from prefect.server.models import flow_runs

    create = _create_run()

    async def create_named(*, session: Any, flow_run: Any, **options: Any) -> Any:
        if name := read_run_name(flow_run.tags, flow_run.parameters, scheduled=False):
            flow_run.name = name
        return await create(session=session, flow_run=flow_run, **options)

    setattr(flow_runs, "create_flow_run", create_named)  # noqa: B010 - a function


def _mark_ready() -> Callable[..., Any]:
    from prefect.server.models import deployments

    mark: Callable[..., Any] = deployments.mark_deployments_ready
    if mark not in background_tasks():
        raise AttributeError("the server marks deployments in another way")
    return mark


def background_tasks() -> list[Callable[..., Any]]:
    """Return the list of functions that the server's background worker may run."""
    from prefect.server.api import background_workers

    return background_workers.task_functions


def _mark_now_and_then() -> None:
    from prefect.server.api import background_workers, deployments, work_queues, workers
    from prefect.server.models import deployments as models

    from prefect_instances.libs.adapters.prefect.polls import find_unready, mark_now_and_then

    mark, tasks = _mark_ready(), background_tasks()
    seldom = mark_now_and_then(mark, find_unready)
    tasks[tasks.index(mark)] = seldom
    for module in (models, background_workers, deployments, work_queues, workers):
        setattr(module, "mark_deployments_ready", seldom)  # noqa: B010 - a function


def _check_schema() -> Callable[..., Any]:
    from prefect.utilities.schema_tools import validation

    check: Callable[..., Any] = validation._VALIDATOR.check_schema
    return check


def _check_schemas_once() -> None:
    from prefect.utilities.schema_tools import validation

    validator: Any = validation._VALIDATOR
    check = _check_schema()

    @functools.lru_cache(maxsize=1024)
    def check_text(schema: str, **options: Any) -> None:
        check(json.loads(schema), **options)

    def check_schema(schema: Any, **options: Any) -> None:
        check_text(json.dumps(schema), **options)

    validator.check_schema = check_schema


def _client() -> Callable[..., Any]:
    from prefect.client import orchestration

    if getattr(orchestration, "ssl", None) is not ssl:
        raise AttributeError("the client does not take its certificates from ssl any more")
    return orchestration.SyncPrefectClient


def _share_certificates() -> None:
    from prefect.client import orchestration

    shared = functools.cache(ssl.create_default_context)
    for_prefect = SimpleNamespace(**{**vars(ssl), "create_default_context": shared})
    setattr(orchestration, "ssl", for_prefect)  # noqa: B010 - no name that it exports
    orchestration.SyncPrefectClient("http://127.0.0.1/api")


def _observe() -> Callable[..., Any]:
    from prefect import _flow_run_suspension, flow_engine

    observe: Callable[..., Any] = _flow_run_suspension.observe_flow_run_suspension
    if flow_engine.observe_flow_run_suspension is not observe:  # type: ignore[attr-defined]
        raise AttributeError("the engine has another observer of suspensions")
    return observe


def _await_signal_of_worker() -> None:
    from prefect import flow_engine

    from prefect_instances.libs.adapters.prefect.suspension import observe_signal

    setattr(flow_engine, "observe_flow_run_suspension", observe_signal)  # noqa: B010 - a function


def _rename() -> Callable[..., Any]:
    from prefect.client.orchestration import SyncPrefectClient

    return SyncPrefectClient.set_flow_run_name


def _rename_only_if_it_differs() -> None:
    from prefect import flow_engine
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.context import FlowRunContext

    resolve, rename = flow_engine.resolve_custom_flow_run_name, _rename()  # type: ignore[attr-defined]
    right: set[tuple[Any, str]] = set()

    def resolve_and_compare(flow: Any, parameters: dict[str, Any]) -> str:
        name: str = resolve(flow=flow, parameters=parameters)
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None and context.flow_run.name == name:
            right.add((context.flow_run.id, name))
        return name

    def rename_if_it_differs(self: Any, flow_run_id: Any, name: str) -> Any:
        return None if (flow_run_id, name) in right else rename(self, flow_run_id, name)

    setattr(flow_engine, "resolve_custom_flow_run_name", resolve_and_compare)  # noqa: B010 - a function
    setattr(SyncPrefectClient, "set_flow_run_name", rename_if_it_differs)  # noqa: B010 - a method


def _load_flow_run() -> Callable[..., Any]:
    from prefect import flow_engine

    return flow_engine.load_flow_run


def _enter_run() -> Callable[..., Any]:
    from prefect.flow_engine import FlowRunEngine

    enter: Callable[..., Any] = FlowRunEngine.setup_run_context
    if tuple(inspect.signature(enter).parameters) != ("self", "client"):
        raise AttributeError("the engine enters a run in another way")
    return enter


def _take_handed_runs() -> None:
    from prefect import flow_engine

    from prefect_instances.libs.adapters.prefect.handover import enter_with_handed, load_handed

    enter = enter_with_handed(_enter_run())
    setattr(flow_engine, "load_flow_run", load_handed(_load_flow_run()))  # noqa: B010 - a function
    setattr(flow_engine.FlowRunEngine, "setup_run_context", enter)  # noqa: B010 - a method


def _read_default_storage() -> Callable[..., Any]:
    from prefect import results

    read: Callable[..., Any] = results._read_server_default_result_storage_block_id
    return read


def _read_default_storage_once() -> None:
    from prefect import results

    once = functools.cache(_read_default_storage())
    setattr(results, "_read_server_default_result_storage_block_id", once)  # noqa: B010


WRITERS = Patch(
    "transactions begin as writers",
    "SQLite fails a transaction that reads, then writes, if another one committed in between.",
    _begin_transaction,
    ("self", "session", "with_for_update"),
    _begin_as_writers,
)
ONE_APP = Patch(
    "one application",
    "Each action of an automation looks the application up anew and hashes all settings for it.",
    _create_app,
    ("settings", "ephemeral", "webserver_only", "final", "ignore_cache"),
    _look_up_once,
)
PICTURES = Patch(
    "pictures of block types",
    "Prefect takes web addresses only, and without internet those of a public host show nothing.",
    _create_ui,
    ("ephemeral",),
    _serve_pictures,
)
SCHEDULED_NAMES = Patch(
    "names of scheduled runs",
    "The runs of a schedule have an invented name until they start, days later.",
    _insert_scheduled,
    ("db", "session", "runs"),
    _name_scheduled_runs,
)
CREATED_NAMES = Patch(
    "names of created runs",
    "The runs of an automation, and of the pages' quick run, have an invented name too.",
    _create_run,
    ("db", "session", "flow_run", "orchestration_parameters"),
    _name_created_runs,
)
POLLS = Patch(
    "deployments marked now and then",
    "Each poll of a work pool writes its time into every deployment of the pool.",
    _mark_ready,
    ("db", "deployment_ids", "work_queue_ids", "retry"),
    _mark_now_and_then,
)
SCHEMAS = Patch(
    "schemas checked once",
    "The same schema of a work pool is checked twice for every run that is created.",
    _check_schema,
    ("schema", "format_checker"),
    _check_schemas_once,
)
CERTIFICATES = Patch(
    "certificates shared",
    "Each client of a run parses the certificates of the machine anew, 40 ms.",
    _client,
    ("api", "auth_string", "api_key", "api_version", "httpx_settings", "server_type"),
    _share_certificates,
)

SUSPENSION = Patch(
    "suspension told by the worker",
    "Each run opens a connection to the event stream, reads its state and ends up to 0.2 s later.",
    _observe,
    ("flow_run_id", "suspension_request", "polling_interval"),
    _await_signal_of_worker,
)
NAMES = Patch(
    "names sent if they differ",
    "Our server has named a run when it was created, and each run names itself again.",
    _rename,
    ("self", "flow_run_id", "name"),
    _rename_only_if_it_differs,
)
HANDED_RUNS = Patch(
    "runs handed over by the worker",
    "Each run reads twice what its worker has just read: its own flow run.",
    _load_flow_run,
    ("flow_run_id",),
    _take_handed_runs,
)
STORAGE = Patch(
    "default storage read once",
    "A run asks the server twice which block stores results by default.",
    _read_default_storage,
    (),
    _read_default_storage_once,
)

SERVER_PATCHES = (CREATED_NAMES, ONE_APP, PICTURES, POLLS, SCHEDULED_NAMES, SCHEMAS, WRITERS)
"""Patches of the server that ``instances up`` starts."""

RUN_PATCHES = (CERTIFICATES, HANDED_RUNS, NAMES, STORAGE, SUSPENSION)
"""Patches of the process that runs are forked from."""
