"""The home directory: its paths, its lock, and its config file."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from prefect_instances.libs.core.errors import PermanentError, TemporaryError
from prefect_instances.libs.settings import CONFIG_FILE, read_config

LOCK_POLL_SECONDS = 0.2


class HomeBusy(TemporaryError):
    """Another ``instances up`` or ``down`` works on this home: wait for it, then try again."""

    def __init__(self, home: Path, seconds: float) -> None:
        self.home = home
        super().__init__(
            f"another `instances up` or `down` has been using {home} for {seconds:.0f} s; "
            "wait for it to end"
        )


@dataclass(frozen=True, slots=True)
class Home:
    """The paths inside one home."""

    path: Path

    @property
    def logs(self) -> Path:
        """The directory of log files, one for each process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """The directory of the process records and the lock."""
        return self.path / "run"

    @property
    def prefect(self) -> Path:
        """``PREFECT_HOME`` of the processes; it holds the embedded server's database."""
        return self.path / "prefect"

    def prepare(self) -> None:
        """Create the directories; raise PermanentError if that is not allowed."""
        try:
            for directory in (self.logs, self.run, self.prefect):
                directory.mkdir(parents=True, exist_ok=True)
            # The databases hold block documents, so other users get no access.
            self.prefect.chmod(0o700)
        except OSError as error:
            raise PermanentError(f"the home {self.path} cannot be used: {error}") from error

    def remember(self, **values: Any) -> None:
        """Merge ``values`` into the config file atomically; None deletes an entry."""
        entries = {**read_config(self.path), **values}
        kept = {name: value for name, value in sorted(entries.items()) if value is not None}
        write_atomically(self.path / CONFIG_FILE, json.dumps(kept, indent=2) + "\n")

    @contextmanager
    def lock(
        self, seconds: float = 300.0, on_wait: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Lock the home; wait up to ``seconds`` for another holder, then raise HomeBusy.

        ``on_wait`` is called once if it has to wait. The lock ends with its process, so a killed
        command leaves none behind.
        """
        with (self.run / "lock").open("a+") as file:
            deadline = time.monotonic() + seconds
            waited = False
            while not _try_lock(file):
                if on_wait and not waited:
                    on_wait()
                waited = True
                if time.monotonic() >= deadline:
                    raise HomeBusy(self.path, seconds)
                time.sleep(LOCK_POLL_SECONDS)
            yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's content; readers see the old text or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
