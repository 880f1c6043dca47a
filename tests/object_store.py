"""Servers of object stores on this machine, and S3 as one of them: moto, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from uuid import uuid4

import boto3
import pytest

from prefect_instances.libs.core.places import RemotePlace

KEY = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}

SERVER = """
import logging, sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True
)
print(server.server_port, flush=True)
server.serve_forever()
"""


class ObjectServer(Protocol):
    """A running server; ``environment`` is what reaches it without a block."""

    scheme: ClassVar[str]

    @property
    def environment(self) -> dict[str, str]: ...

    def make_bucket(self) -> str: ...

    def delete_bucket(self, name: str) -> None: ...

    def keys(self, bucket: str) -> list[str]: ...


def enter_bucket(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> RemotePlace:
    """An empty bucket of its own, which the environment's identity reaches."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return RemotePlace(f"{server.scheme}://{server.make_bucket()}")


@dataclass(frozen=True)
class S3:
    """See ``ObjectServer``."""

    endpoint: str
    process: subprocess.Popen[str]
    scheme: ClassVar[str] = "s3"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }

    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **KEY)

    def make_bucket(self) -> str:
        name = f"b-{uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name

    def delete_bucket(self, name: str) -> None:
        for key in self.keys(name):
            self.client().delete_object(Bucket=name, Key=key)
        self.client().delete_bucket(Bucket=name)

    def keys(self, bucket: str) -> list[str]:
        found = self.client().list_objects_v2(Bucket=bucket).get("Contents", [])
        return [one["Key"] for one in found]


@contextmanager
def serve_s3() -> Iterator[S3]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    try:
        yield S3(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
    finally:
        process.kill()
        process.communicate()
