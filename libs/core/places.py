"""Places of stored data: a directory, or a folder in an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCHEMES = ("s3", "az", "gs")
"""Schemes of object stores: S3, Azure Blob Storage, Google Cloud Storage."""

_KEY = re.compile(r"[A-Za-z0-9._=/-]*\Z")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """A folder in an object store.

    ``url`` has no slash at its end. ``block`` names the Prefect block "Object store" with endpoint
    and key; empty: the environment's own identity is used.
    """

    url: str
    block: str = ""

    def __truediv__(self, name: str) -> RemotePlace:
        """Return the place of ``name`` below this one."""
        return RemotePlace(f"{self.url}/{name}", self.block)

    @property
    def scheme(self) -> str:
        """Return the scheme of the URL: s3, az or gs."""
        return self.url.partition("://")[0]


Place = Path | RemotePlace


def is_remote(text: str) -> bool:
    """Return True if ``text`` is a URL of an object store."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def parse_place(text: str, block: str = "") -> Place:
    """Return the place that a directory or a URL names; directories are absolute.

    Raises ValueError, with what to write instead, if it is neither.
    """
    if "://" not in text:
        return Path(text).expanduser().absolute()
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return Path(unquote(parts.path))
    if parts.scheme not in SCHEMES:
        raise ValueError("write a directory, or a URL with file://, s3://, az:// or gs://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL holds no key and no options: save them in an Object store block")
    if not _BUCKET.match(parts.netloc):
        raise ValueError(f"write {parts.scheme}://BUCKET/FOLDER")
    if not _KEY.match(parts.path) or {"..", "."} & set(parts.path.split("/")):
        raise ValueError("a folder in an object store has only letters, digits and ._=-/")
    folder = "/".join(part for part in parts.path.split("/") if part)
    return RemotePlace(f"{parts.scheme}://{parts.netloc}/{folder}".rstrip("/"), block)
