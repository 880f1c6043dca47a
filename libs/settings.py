"""Settings: all external configuration, and the only reader of the environment.

Each field is the environment variable ``INSTANCES_<FIELD>``. Settings that ``instances up``
determined or received are saved in ``<home>/config.json`` and apply if the environment does not set
them; that file never holds a credential.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.errors import InvalidSpec, PermanentError, Problem
from prefect_instances.libs.core.places import Place, RemotePlace, parse_place

PREFIX = "INSTANCES_"
CONFIG_FILE = "config.json"
DEFAULT_HOME = Path("~/.instances")


class Settings(BaseSettings):
    """One immutable reading of the settings; pass it on instead of reading them again."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(
        DEFAULT_HOME,
        validate_default=True,
        description="Directory of all state: databases, stores, Prefect's home, logs, process ids.",
    )
    database_url: str = Field(
        "",
        repr=False,
        description=(
            "SQLAlchemy URL of the database: sqlite:/// or postgresql+psycopg://. It takes "
            "precedence over database_block. If both are empty: sqlite:///<home>/instances.db."
        ),
    )
    database_block: str = Field(
        "",
        description=(
            "Prefect block with the address and password of the database: "
            "sqlalchemy-connector/NAME or database-credentials/NAME."
        ),
    )
    store_root: Place = Field(
        default_factory=lambda known: known["home"] / "stores",
        description=(
            "Directory or URL (file://, s3://, az://, gs://) for the data of the stores; by "
            "default <home>/stores."
        ),
    )
    store_block: str = Field(
        "",
        pattern=r"^[a-z0-9-]*$",
        description=(
            "Name of the Prefect block of type Object store with the endpoint and the key of "
            "store_root. If it is empty, the environment's own identity is used."
        ),
    )
    prefect_api_url: str = Field(
        "",
        description=(
            "API of the Prefect server, used if Prefect's own settings (PREFECT_API_URL, the "
            "active profile) name none. `instances up` stores the address of its server here."
        ),
    )
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the embedded Prefect server; 0 takes a free port and keeps it.",
    )
    server_run_days: int = Field(
        90,
        ge=0,
        description=(
            "Days after which the embedded Prefect server deletes a run that ended, with its logs "
            "and artifacts; 0 keeps all. Our own records of runs stay."
        ),
    )
    server_event_days: int = Field(
        3, ge=1, description="Days after which the embedded Prefect server deletes an event."
    )
    pool: str = Field(
        "instances", min_length=1, description="Work pool that runs every flow of this project."
    )
    pool_type: str = Field(
        "instances-warm",
        min_length=1,
        description=(
            "Type of the work pool if it has to be created: instances-warm forks each run from a "
            "process with all imports done; process starts a new interpreter for each run."
        ),
    )
    worker_limit: int = Field(
        4, ge=1, description="Runs that the local worker executes at the same time."
    )
    sweep_seconds: int = Field(
        60,
        ge=1,
        description=(
            "Seconds between two sweeps. If it is not set, an interval that somebody chose for the "
            "sweep in Prefect is kept."
        ),
    )
    lease_seconds: int = Field(
        30,
        ge=1,
        description="Seconds after the last heartbeat of a run until its process counts as dead.",
    )
    heartbeat_seconds: int = Field(
        8, ge=1, description="Seconds between two heartbeats of a run; less than lease_seconds."
    )
    claim_seconds: int = Field(
        45,
        ge=1,
        description="Seconds until the sweep starts a run for an opening that no run has claimed.",
    )
    begin_seconds: int = Field(
        300,
        ge=1,
        description=(
            "Seconds that a flow run may take to begin its work after a worker takes it, and to "
            "end after its work is done; then it counts as dead. Set it above the time that a "
            "container needs to start."
        ),
    )
    crash_retries: int = Field(
        2,
        ge=0,
        description="How many times a run is started again automatically if its process dies.",
    )
    crash_backoff_seconds: int = Field(
        5,
        ge=0,
        description="Seconds before the first of these retries; doubled for each further one.",
    )

    mlflow_tracking_uri: str = Field(
        "",
        repr=False,
        description=(
            "MLflow server, http(s)://[user:password@]host:port. If it is empty, an embedded store "
            "in <home>/mlflow is used."
        ),
    )
    mlflow_ui_url: str = Field(
        "",
        description=(
            "Address of MLflow's pages, for links; by default mlflow_tracking_uri. "
            "`instances up --with mlflow` stores the address of its pages here."
        ),
    )
    mlflow_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of `instances up --with mlflow`; 0 takes a free port and keeps it.",
    )
    evidently_url: str = Field(
        "",
        repr=False,
        description=(
            "Evidently server, http(s)://[user:password@]host:port. If it is empty, a workspace in "
            "<home>/evidently is used."
        ),
    )
    evidently_secret: SecretStr = Field(
        SecretStr(""), description="Secret that the Evidently server requires for writing."
    )
    evidently_ui_url: str = Field(
        "",
        description=(
            "Address of Evidently's pages, for links; by default evidently_url. "
            "`instances up --with evidently` stores the address of its pages here."
        ),
    )
    evidently_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=("Port of `instances up --with evidently`; 0 takes a free port and keeps it."),
    )

    centrifugo_block: str = Field(
        "instances",
        pattern=r"^[a-z0-9-]+$",
        description=(
            "Name of the Prefect block of type Centrifugo that says where to publish status "
            "changes. If the block does not exist, nothing is published."
        ),
    )

    @property
    def chosen_sweep_seconds(self) -> int | None:
        """Return ``sweep_seconds`` if it was set; None if it is only the default."""
        return self.sweep_seconds if "sweep_seconds" in self.model_fields_set else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # called by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # called by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by priority: arguments, environment, the home's config file."""
        return init_settings, env_settings, HomeConfig(settings_cls)

    @property
    def store_place(self) -> Place:
        """Return ``store_root``, with ``store_block`` if it is in an object store."""
        root = self.store_root
        return RemotePlace(root.url, self.store_block) if isinstance(root, RemotePlace) else root

    @field_validator("store_root", mode="before")
    @classmethod
    def _place(cls, value: Any) -> Any:
        return parse_place(value) if isinstance(value, str) else value

    @field_validator("store_root")
    @classmethod
    def _absolute_place(cls, value: Place) -> Place:
        return value.expanduser().absolute() if isinstance(value, Path) else value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        """Make paths absolute, so that they are the same in every process."""
        return value.expanduser().absolute()

    @field_validator("database_block")
    @classmethod
    def _block_slug(cls, value: str) -> str:
        kind, _, name = value.partition("/")
        if value and (kind not in DATABASE_BLOCKS or not name):
            raise ValueError("write sqlalchemy-connector/NAME or database-credentials/NAME")
        return value

    @field_validator("mlflow_tracking_uri", "evidently_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            Address.parse(value)
        return value

    @field_validator("mlflow_ui_url", "evidently_ui_url")
    @classmethod
    def _public_address(cls, value: str) -> str:
        if not value:
            return value
        address = Address.parse(value)
        if address.credentials:
            raise ValueError("everybody sees links: leave out user and password")
        return address.url

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError("heartbeat_seconds must be less than lease_seconds")
        if not self.database_url and not self.database_block:
            object.__setattr__(self, "database_url", _own_database(self.home))
        return self


DATABASE_BLOCKS = frozenset({"sqlalchemy-connector", "database-credentials"})
"""Block types that ``database_block`` may name."""


class HomeConfig(PydanticBaseSettingsSource):
    """``<home>/config.json`` as a source; ``home`` comes from the sources before it."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002  # the base class declares it
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Return no value for a single field, because the file is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the file's entries, without ``home``: the file cannot define its own location."""
        home = Path(self.current_state.get("home") or DEFAULT_HOME).expanduser()
        return {name: value for name, value in read_config(home).items() if name != "home"}


def _own_database(home: Path) -> str:
    """Return the URL of the home's own database."""
    return f"sqlite:///{home / 'instances.db'}"


def read_config(home: Path) -> dict[str, Any]:
    """Return the settings that ``instances up`` saved in ``home``; empty if there is no file.

    Raises PermanentError for a file that is not a JSON object: delete it and start again.
    """
    path = home / CONFIG_FILE
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise PermanentError(f"{path} cannot be read ({error}); correct or delete it") from error
    if not isinstance(document, dict):
        raise PermanentError(f"{path} is not a JSON object; correct or delete it")
    return document


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; ``overrides`` take precedence over every other source.

    Raises InvalidSpec with one problem for each invalid setting.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        # A default that depends on an invalid value is not a second problem.
        details = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        raise InvalidSpec(_problem(detail) for detail in details) from error


def _problem(detail: Any) -> Problem:
    """Convert a pydantic error to a problem named by its environment variable."""
    name = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return Problem(PREFIX + name.upper() if name else "settings", message)
