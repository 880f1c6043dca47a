#!/usr/bin/env python3
"""Set up everything and run it, with nothing but Python 3.11 or newer on the machine.

    python3 make.py demo [--keep]      the demonstration, from nothing to every instance READY
    python3 make.py quick [ARGS...]    format, lint, imports, types, tests that need no server
    python3 make.py test [ARGS...]     format, lint, imports, types, each behaviour tested once
    python3 make.py test --all         the same with every test there is, then the benchmarks
    python3 make.py test --rest        only what --all runs beyond test
    python3 make.py instances ARGS...  any command of the command line

ARGS go to pytest; with them nothing is measured.

The set-up needs neither uv nor a writable system Python: it takes uv from the PATH, else brings
one into ``.bootstrap``, and installs the locked dependencies into ``.venv``. Both are left alone
while the lock file does not change.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036  # for those who call it with an older one
    sys.exit(f"make.py needs Python 3.11 or newer; this is {platform.python_version()}")

ROOT = Path(__file__).resolve().parent
BOOTSTRAP = ROOT / ".bootstrap"
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / ".locked"
WINDOWS = os.name == "nt"
SCRIPTS = "Scripts" if WINDOWS else "bin"
UV = "uv.exe" if WINDOWS else "uv"
OLDEST_UV = (0, 8)
NEWEST_PYTHON = (3, 13)
PYPI = "https://pypi.org/pypi/uv/json"
COMPILED = re.compile(r"\.cpython-3\d+\.pyc$")
"""Files that Python compiled; pytest's own have another ending and hold the paths of a clone."""
BYTECODE = Path("~/.cache/prefect-instances/bytecode").expanduser()
"""What Python compiled of the installed packages, for the environments of all clones."""

STATIC = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("lint-imports",),
    ("mypy",),
)
"""What is checked without running anything; each reads its settings in pyproject.toml."""

TOGETHER = frozenset({"lint-imports", "mypy", "pytest"})
"""Checks that run at the same time: the tests leave the cores time in which they wait."""

# No time is asserted: it fails where something cannot be measured any more.
MEASURE = ("python", "-m", "benchmarks", "--quick")

CORE_LAWS = tuple(
    f"tests/property/test_{name}.py"
    for name in ("aggregation_laws", "gate_laws", "gate_machine", "lineage_laws")
)


@dataclass(frozen=True)
class Scope:
    """How much is checked.

    ``tests`` are the words after ``pytest``, which leaves out the marker ``thorough`` unless they
    say otherwise; ``profile`` is one of those in tests/conftest.py.
    """

    tests: tuple[str, ...]
    profile: str
    static: bool = True
    measured: bool = False


HUGE_PAGES = (
    {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
    if sys.platform == "linux"
    else {}
)
"""Memory in large pages.

On some virtual machines a page that the processor has to look up costs microseconds, and imports
take four times as long.
"""

SCOPES = {
    "quick": Scope(("-m", "not server and not thorough", "tests/unit", *CORE_LAWS), "quick"),
    "test": Scope((), "dev"),
    "--all": Scope(("-m", ""), "ci", measured=True),
    # Laws are drawn again, with as many examples as are promised.
    "--rest": Scope(("-m", "thorough or hypothesis"), "ci", static=False, measured=True),
}


SEVERAL_HOSTS = {
    "postgresql": "/usr/lib/postgresql/*/bin/initdb",
    "redis-server": "/usr/bin/redis-server",
}
"""Packages of Debian that the tests on several hosts need, and a file of each."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code, 2 for wrong usage."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in {"demo", "quick", "test", "instances"}:
        print(__doc__)
        return 0 if command in {"-h", "--help", "help"} else 2
    try:
        sync()
    except (OSError, ValueError) as error:
        print(f"make.py: the set-up failed: {error}", file=sys.stderr)
        return 1
    if command in SCOPES:
        return check(*choose_scope(command, rest))
    return run_instances(rest if command == "instances" else ["demo", *rest])


def sync() -> None:
    """Install the locked dependencies, unless just these are installed already."""
    wanted = fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted and script("python").exists():
        return
    command = [find_uv(), "sync", "--frozen"]
    if not ENVIRONMENT.exists() and sys.version_info[:2] <= NEWEST_PYTHON:
        # The Python that is here: without this uv may download another.
        command += ["--python", sys.executable]
    if run(command):
        raise OSError(f"{' '.join(command)} failed")
    link_bytecode(BYTECODE, ENVIRONMENT)
    STAMP.write_text(wanted)


def link_bytecode(source: Path, target: Path) -> None:
    """Link what Python compiled below ``source`` into ``target``, at the same places.

    Python uses such a file only if it was compiled from a file of the same time and size. That
    holds for files that uv links from its cache. Where no links are possible, for example between
    file systems, everything is compiled again.
    """
    for folder, _, names in os.walk(source):
        if not folder.endswith("__pycache__"):
            continue
        there = target / Path(folder).relative_to(source)
        with suppress(OSError):
            there.mkdir(parents=True, exist_ok=True)
            for name in filter(COMPILED.search, names):
                link(Path(folder, name), there / name)


def link(file: Path, place: Path) -> None:
    """Make ``place`` a link to the file, also where another process does the same."""
    if place.exists() and place.samefile(file):
        return
    new = place.with_suffix(f".{os.getpid()}")
    os.link(file, new)
    new.replace(place)


def choose_scope(command: str, arguments: list[str]) -> tuple[Scope, list[str]]:
    """Tell what a command checks, and which of its arguments are for pytest."""
    if command == "test" and arguments and arguments[0] in SCOPES:
        return SCOPES[arguments[0]], arguments[1:]
    return SCOPES[command], arguments


def check(scope: Scope, arguments: list[str]) -> int:
    """Run every check of a scope and stop at the first that fails; returns its exit code."""
    if scope is not SCOPES["quick"]:
        find_browser()
    if scope.measured:
        install(name for name, path in SEVERAL_HOSTS.items() if not glob(path))
    environment = {"HYPOTHESIS_PROFILE": scope.profile, **HUGE_PAGES, **clean_environment()}
    share_cores()
    for group in group_checks(list_checks(scope, arguments)):
        commands = [[str(script(name)), *options] for name, *options in group]
        status = run_together(commands, environment)
        if status:
            return status
    link_bytecode(ENVIRONMENT, BYTECODE)
    return 0


def share_cores() -> None:
    """Let whoever works be interrupted less often: dozens of processes share the cores."""
    if sys.platform == "linux":
        with suppress(OSError):  # Where a sandbox forbids it, everything takes a little longer.
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def group_checks(checks: Sequence[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    """Put neighbours that run at the same time into one group; every other check is alone."""
    groups: list[list[tuple[str, ...]]] = []
    for command in checks:
        if groups and {command[0], groups[-1][-1][0]} <= TOGETHER:
            groups[-1].append(command)
        else:
            groups.append([command])
    return groups


def run_together(commands: Sequence[list[str]], environment: dict[str, str]) -> int:
    """Run commands at the same time; the first that fails interrupts the others.

    The last one writes to the terminal. What the others write is shown whole when they end.
    Returns the exit code of the first that failed, or 0.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell ignores it for what it runs in the background, and what is started inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    shown = len(commands) - 1
    processes = [start(line, environment, at < shown) for at, line in enumerate(commands)]
    failed = 0
    with ThreadPoolExecutor(len(processes)) as pool:
        ends = {pool.submit(process.communicate): process for process in processes}
        for end in as_completed(ends):
            if failed:
                continue  # it was interrupted
            output, failed = end.result()[0], ends[end].returncode
            name = Path(str(ends[end].args[0])).name  # type: ignore[index]  # a list, see start
            print(f"\n{name}:\n{output}" if output else "", end="", flush=True)
            if failed:
                print(f"make.py: {name} failed", file=sys.stderr)
                interrupt(processes)
    return failed


def start(command: list[str], environment: dict[str, str], quiet: bool) -> subprocess.Popen[str]:
    """Show and start a command in the checkout; ``quiet`` keeps what it writes."""
    announce(command)
    return subprocess.Popen(  # noqa: S603  # commands of this file only
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
    )


def interrupt(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End what still runs, as Ctrl-C does, so that it ends what it started."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if WINDOWS else signal.SIGINT)


def list_checks(scope: Scope, arguments: list[str]) -> list[tuple[str, ...]]:
    """List the commands of a scope, the fast ones first; ``arguments`` are for pytest."""
    checks = list(STATIC) if scope.static else []
    checks.append(("pytest", *scope.tests, *arguments))
    if scope.measured and not arguments:
        checks.append(MEASURE)
    return checks


def find_browser() -> None:
    """A browser for the tests that click: the system's, else one that is brought here.

    Where neither can be had those tests say so and are skipped.
    """
    if any(map(shutil.which, BROWSERS)):
        return
    if not install(["chromium"]):
        attempt([str(script("playwright")), "install", "chromium"])


def install(packages: Iterable[str]) -> bool:
    """Install packages of Debian; False if that is not possible. Tests that need them say so."""
    wanted = list(packages)
    if not wanted:
        return True
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    return attempt(["apt-get", "update"], environment) and attempt(command, environment)


def run_instances(arguments: list[str]) -> int:
    """Become the command line, so that signals and the exit code are its own."""
    command = [str(script("instances")), *arguments]
    if not WINDOWS:
        sys.stdout.flush()
        os.execve(command[0], command, clean_environment())  # noqa: S606  # no shell is wanted
    return run(command)


def script(name: str) -> Path:
    """An executable of the project's environment."""
    return ENVIRONMENT / SCRIPTS / (f"{name}.exe" if WINDOWS else name)


def fingerprint() -> str:
    """Changes with what is to be installed, and where: environments cannot be moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "uv.lock"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def clean_environment() -> dict[str, str]:
    """The caller's environment without another virtual environment or project in it.

    Python may keep what it compiles, or each of hundreds of processes compiles it again.
    """
    foreign = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PYTHONHOME", "PYTHONPATH"}
    foreign |= {"PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in foreign}


def find_uv() -> str:
    """A working uv: from the PATH, from an earlier call, or brought here now."""
    brought = [
        BOOTSTRAP / "venv" / SCRIPTS / UV,
        BOOTSTRAP / "target" / "bin" / UV,
        BOOTSTRAP / "wheel" / UV,
    ]
    for candidate in [shutil.which("uv"), *map(str, brought)]:
        if candidate and works(candidate):
            return candidate
    for bring, where in zip((by_venv, by_pip, by_download), brought, strict=True):
        bring()
        if works(str(where)):
            return str(where)
    raise OSError("uv could not be brought here; install it: https://docs.astral.sh/uv/")


def works(uv: str) -> bool:
    """Whether this uv runs and is new enough to read the lock file."""
    try:
        answer = subprocess.check_output(  # noqa: S603  # a uv that was found
            [uv, "--version"], text=True, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    version = re.search(r"(\d+)\.(\d+)", answer)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST_UV


def by_venv() -> None:
    """The usual way; fails where Debian's python3-venv is not installed."""
    where = BOOTSTRAP / "venv"
    shutil.rmtree(where, ignore_errors=True)
    if attempt([sys.executable, "-m", "venv", str(where)]):
        attempt([str(where / SCRIPTS / "python"), "-m", "pip", "install", "--quiet", "uv"])


def by_pip() -> None:
    """By the system's pip into a directory of ours, which also PEP 668 has nothing against."""
    where = BOOTSTRAP / "target"
    shutil.rmtree(where, ignore_errors=True)
    # Some pips refuse --target too where the system's Python is externally managed.
    environment = {**os.environ, "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_USER": "0"}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(where), "uv"]
    attempt(pip, environment)


def by_download() -> None:
    """The wheel from PyPI, checked against the digest that PyPI names, without any pip."""
    with urllib.request.urlopen(PYPI, timeout=60) as answer:
        wheel = choose_wheel(json.load(answer)["urls"])
    # Mirrors give addresses relative to the page that lists them.
    address = urllib.parse.urljoin(PYPI, str(wheel["url"]))
    announce(["download", address])
    if not address.startswith("https://"):
        raise ValueError(f"PyPI names {address}, which is not https")
    with urllib.request.urlopen(address, timeout=300) as answer:  # noqa: S310  # checked above
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != wheel["digests"]["sha256"]:
        raise ValueError(f"the digest of {wheel['filename']} is not the one that PyPI names")
    unpack_uv(content, BOOTSTRAP / "wheel")


def choose_wheel(files: list[dict[str, Any]]) -> dict[str, Any]:
    """The wheel for this machine out of PyPI's list; raises OSError if there is none."""
    wanted = re.compile(platform_pattern())
    for file in files:
        if wanted.search(str(file["filename"])):
            return file
    raise OSError(f"PyPI has no uv for {platform.platform()}; install it yourself")


def platform_pattern() -> str:
    """Regular expression for the platform tag of a wheel that runs here."""
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if platform.system() == "Darwin":
        return rf"-macosx_\d+_\d+_{'arm64' if machine == 'aarch64' else machine}\.whl$"
    if WINDOWS:
        return rf"-win_{'amd64' if machine == 'x86_64' else 'arm64'}\.whl$"
    library = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return rf"[-.]{library}_\d+_\d+_{machine}\."


def unpack_uv(wheel: bytes, where: Path) -> None:
    """Write the one executable of the wheel into ``where``."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f".data/scripts/{UV}"))
        binary = archive.read(name)
    where.mkdir(parents=True, exist_ok=True)
    target = where / UV
    target.write_bytes(binary)
    target.chmod(0o755)


def attempt(command: list[str], environment: dict[str, str] | None = None) -> bool:
    """Whether a command succeeds; there is another way, so why it fails is not shown."""
    return run(command, environment or dict(os.environ), stderr=subprocess.DEVNULL) == 0


def run(
    command: list[str], environment: dict[str, str] | None = None, stderr: int | None = None
) -> int:
    """Show and run a command in the checkout; its exit code."""
    announce(command)
    variables = clean_environment() if environment is None else environment
    return subprocess.run(  # noqa: S603  # commands of this file only
        command, cwd=ROOT, env=variables, stderr=stderr, check=False
    ).returncode


def announce(command: list[str]) -> None:
    """Show what is run."""
    print("+ " + " ".join(command), file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
