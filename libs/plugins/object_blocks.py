"""Endpoints and keys of object stores, by the name of the Prefect block that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from prefect_instances.libs.core.errors import NotFound, Unavailable

SLUG = "object-store"


class ObjectStoreAccess(BaseModel):
    """How to reach an object store; without a key, the environment's own identity is used."""

    endpoint: str = Field(
        default="",
        description="Address of the service, for S3 services other than Amazon's and for Azure "
        "emulators (http://HOST:PORT/ACCOUNT).",
    )
    region: str = Field(default="", description="Region of the bucket (S3).")
    account: str = Field(
        default="", description="Storage account (Azure); empty with S3 and Google."
    )
    key: SecretStr = Field(
        default=SecretStr(""), description="Access key id (S3); empty with Azure and Google."
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="Secret key (S3), account key (Azure), JSON of a service account (Google).",
    )
    timeout_seconds: int = Field(
        default=30, ge=1, description="Seconds until a request counts as failed."
    )

    def options(self) -> dict[str, str]:
        """Return the storage options of deltalake, polars and obstore; empty ones are left out."""
        found = self._azure() if self.account else self._amazon_or_google()
        found["timeout"] = f"{self.timeout_seconds}s"
        return {name: value for name, value in found.items() if value}

    def _azure(self) -> dict[str, str]:
        # Azure calls its only secret a key, so it may have been saved as either.
        secret = self.secret.get_secret_value() or self.key.get_secret_value()
        return {
            "azure_storage_account_name": self.account,
            "azure_storage_account_key": secret,
            # With a slash at its end it would have two before the container.
            "azure_storage_endpoint": self.endpoint.rstrip("/"),
        }

    def _amazon_or_google(self) -> dict[str, str]:
        key, secret = self.key.get_secret_value(), self.secret.get_secret_value()
        return {
            "aws_endpoint": self.endpoint,
            "aws_region": self.region,
            "aws_access_key_id": key,
            "aws_secret_access_key": secret if key else "",
            "google_service_account_key": "" if key else secret,
        }


def read_options(block: str) -> dict[str, str]:
    """Return the storage options of a block of type Object store; none for an empty name.

    Raises ``NotFound`` if there is no such block, ``Unavailable`` if Prefect does not answer.
    """
    if not block:
        return {}
    return ObjectStoreAccess.model_validate(_document(block.removeprefix(f"{SLUG}/"))).options()


def _document(name: str) -> Mapping[str, Any]:
    """Return the content of the block; as a plain document, so that no thread is started."""
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():  # Prefect would start a temporary server.
        raise Unavailable("Prefect API", "no server is configured in this process")
    try:
        with get_client(sync_client=True) as client:
            found = client.read_block_document_by_name(name, SLUG, include_secrets=True)
    except ObjectNotFound as error:
        raise NotFound("block document", f"{SLUG}/{name}") from error
    except (HTTPError, OSError) as error:
        raise Unavailable("Prefect API", (str(error).splitlines() or ["no answer"])[0]) from error
    return found.data
