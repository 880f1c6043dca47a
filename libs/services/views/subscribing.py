"""What applications need in order to subscribe: address, channels and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from prefect_instances.libs.adapters.centrifugo.connection import Connection
from prefect_instances.libs.adapters.centrifugo.tokens import (
    sign_connection_token,
    sign_subscription_token,
)
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core import ids
from prefect_instances.libs.core.errors import InvalidSpec, NotFound, Problem
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db.repositories.resources import get_instance, get_project
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import Settings

BLOCK_TYPE = "centrifugo"
PROJECT = "Project"


@dataclass(frozen=True, slots=True)
class Grant:
    """Access for one subscriber: address, channel, and two tokens that expire at ``expires_at``."""

    label: str
    url: str
    channel: str
    user: str
    token: str
    subscription_token: str
    expires_at: datetime


def connection(settings: Settings, prefect: PrefectGateway) -> Connection | None:
    """Read the Centrifugo block; None if there is none.

    Raises InvalidSpec, without any value of the block, if it cannot be used.
    """
    name = settings.centrifugo_block
    document = prefect.read_secrets(BLOCK_TYPE, name)
    if document is None:
        return None
    try:
        return Connection.model_validate(document)
    except ValidationError as error:
        found = [(item["loc"], item["msg"]) for item in error.errors(include_input=False)]
    where = f"block {BLOCK_TYPE}/{name}"
    raise InvalidSpec(
        Problem(".".join([where, *map(str, path)]), text.removeprefix("Value error, "))
        for path, text in found
    )


def grant_subscription(services: Services, name: str, user: str, *, project: bool = False) -> Grant:
    """Create tokens for one subscriber of an instance, or with ``project`` of a whole project.

    Call it again to renew them. Raises NotFound if the instance or project does not exist, or if no
    Centrifugo is configured.
    """
    found = connection(services.settings, services.prefect)
    if found is None:
        raise NotFound("block document", f"{BLOCK_TYPE}/{services.settings.centrifugo_block}")
    label, channel = _project(services, name) if project else _instance(services, name)
    now, life = services.now(), timedelta(seconds=found.token_seconds)
    return Grant(
        label=label,
        url=found.subscribe_at,
        channel=channel,
        user=user,
        token=sign_connection_token(found.hmac_secret, user, now, life),
        subscription_token=sign_subscription_token(found.hmac_secret, user, channel, now, life),
        expires_at=now + life,
    )


def _instance(services: Services, name: str) -> tuple[str, str]:
    with services.database.read() as session:
        named = get_instance(session, name)
    if named.lifecycle is Lifecycle.DEPROVISIONING:
        raise NotFound("instance", name)
    return named.label, ids.instance_channel(named.id)


def _project(services: Services, name: str) -> tuple[str, str]:
    with services.database.read() as session:
        row = get_project(session, name)
        return row.name, ids.project_channel(row.id)
