"""Prefect's own settings, checked before anything uses them: profiles, files and variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from prefect_instances.libs.core.errors import PermanentError

BUILT_IN = ("ephemeral", "local", "cloud", "test")
"""The profiles that Prefect brings itself."""


class UnusableSettings(PermanentError):
    """Prefect's settings are broken: correct the file or the variable that the message names."""


def require_settings() -> None:
    """Check Prefect's profile file and settings, which Prefect itself reads when it is imported.

    Raises UnusableSettings, in one line, if the file is no TOML, if the active profile does not
    exist, or if a setting has a value that Prefect does not accept.
    """
    _require_profile(_profiles_path(), os.environ.get("PREFECT_PROFILE", ""))
    said = StringIO()
    try:
        # Prefect prints the same in several lines while it is imported.
        with redirect_stderr(said):
            from prefect.settings import get_current_settings

            get_current_settings()
    except ValueError as error:
        advice = "correct PREFECT_* variables, prefect.toml, or the active profile"
        raise UnusableSettings(f"Prefect's settings: {_describe(error)}; {advice}") from error


@contextmanager
def limit_retries(count: int) -> Iterator[None]:
    """Let Prefect's client repeat a request at most ``count`` times in a ``with`` block.

    Prefect's ``temporary_settings`` reads and checks all settings again, which takes 35 ms.
    """
    from prefect.context import SettingsContext, get_settings_context

    context = get_settings_context()
    client = context.settings.client.model_copy(update={"max_retries": count})
    settings = context.settings.model_copy(update={"client": client})
    with SettingsContext(profile=context.profile, settings=settings):
        yield


def _profiles_path() -> Path:
    home = os.environ.get("PREFECT_HOME") or "~/.prefect"
    chosen = os.environ.get("PREFECT_PROFILES_PATH") or Path(home) / "profiles.toml"
    return Path(chosen).expanduser()


def _require_profile(path: Path, chosen: str) -> None:
    stored = _read(path)
    profiles = stored.get("profiles")
    names = [*(profiles if isinstance(profiles, Mapping) else ()), *BUILT_IN]
    active = chosen or stored.get("active")
    if active is None or active in names:
        return
    where = "PREFECT_PROFILE names" if chosen else f"in {path}"
    raise UnusableSettings(
        f"{where} the active Prefect profile {active!r}, which does not exist (there are "
        f"{', '.join(dict.fromkeys(names))}): choose one by `prefect profile use NAME`"
        f"{' or unset PREFECT_PROFILE' if chosen else ''}"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnusableSettings(
            f"Prefect's profiles in {path} cannot be read ({_describe(error)}): correct the file, "
            "or move it away to start without profiles"
        ) from error


def _describe(error: Exception) -> str:
    """Return the error in one line; each setting of a validation error with its name."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return " ".join(str(error).split())
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors())
