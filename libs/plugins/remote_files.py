"""Files in object stores, copied to this machine for as long as they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_instances.libs.core.places import RemotePlace, is_remote, parse_place
from prefect_instances.libs.plugins.remote import Folder
from prefect_instances.libs.plugins.tables import find_files, find_format

_WILD = frozenset("*?[")


@contextmanager
def local_files(path: str, block: str, *, first: bool = False) -> Iterator[list[Path]]:
    """Yield the files of a path as ``find_files`` does, or temporary copies of those of a URL.

    The copies are deleted at the end of the block. With ``first``, only the first file of a URL is
    copied. Raises ``Unavailable`` if the object store cannot be read.
    """
    if not is_remote(path):
        yield find_files(path)
        return
    url, pattern = split_pattern(path)
    place = parse_place(url, block)
    assert isinstance(place, RemotePlace)
    folder = Folder(place)
    changed = folder.names()
    names = chosen(changed, pattern)
    with TemporaryDirectory() as copies:
        yield [
            _copy(folder, name, Path(copies), changed[name].timestamp())
            for name in (names[:1] if first else names)
        ]


def split_pattern(path: str) -> tuple[str, str]:
    """Return the folder of a URL and the name or pattern below it; no pattern for a bucket."""
    scheme, _, rest = path.partition("://")
    parts = rest.rstrip("/").split("/")
    wild = next((at for at, part in enumerate(parts) if _WILD & set(part)), len(parts) - 1)
    at = max(wild, 1)
    return f"{scheme}://{'/'.join(parts[:at])}", "/".join(parts[at:])


def chosen(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that a name, a folder or a pattern means, sorted; none that is hidden.

    A star does not cross a slash. Of a folder these are the names with a known suffix.
    """
    there = sorted(name for name in names if not name.rpartition("/")[2].startswith("."))
    if pattern in there:
        return [pattern]
    if _WILD & set(pattern):
        return [name for name in there if _matches(name, pattern)]
    start = f"{pattern}/" if pattern else ""
    below = [name for name in there if name.startswith(start) and find_format(name)]
    return [name for name in below if "/" not in name[len(start) :]]


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _copy(folder: Folder, name: str, below: Path, changed: float) -> Path:
    path = below / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(folder.read(name) or b"")
    os.utime(path, (changed, changed))
    return path
