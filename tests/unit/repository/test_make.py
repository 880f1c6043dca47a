"""The bootstrap: which wheel it takes, and that it takes only what PyPI vouches for."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import make

TAGS = (
    "py3-none-linux_armv6l",
    "py3-none-macosx_10_12_x86_64",
    "py3-none-macosx_11_0_arm64",
    "py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    "py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "py3-none-musllinux_1_1_x86_64",
    "py3-none-win_amd64",
)
FILES: list[dict[str, Any]] = [{"filename": f"uv-1.0-{tag}.whl"} for tag in TAGS]


def machine(monkeypatch: pytest.MonkeyPatch, system: str, name: str, libc: str = "glibc") -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: name)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))


@pytest.mark.parametrize(
    ("system", "name", "libc", "tag"),
    [
        ("Linux", "x86_64", "glibc", TAGS[4]),
        ("Linux", "x86_64", "", TAGS[5]),
        ("Linux", "aarch64", "glibc", TAGS[3]),
        ("Darwin", "arm64", "", TAGS[2]),
        ("Darwin", "x86_64", "", TAGS[1]),
    ],
)
def test_the_wheel_fits_the_machine(
    monkeypatch: pytest.MonkeyPatch, system: str, name: str, libc: str, tag: str
) -> None:
    machine(monkeypatch, system, name, libc)

    assert make.choose_wheel(FILES)["filename"] == f"uv-1.0-{tag}.whl"


def test_a_machine_without_a_wheel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "Linux", "riscv128")

    with pytest.raises(OSError, match="no uv for"):
        make.choose_wheel(FILES)


def wheel() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("uv/__init__.py", "")
        archive.writestr("uv-1.0.data/scripts/uv", "#!/bin/sh\necho uv 1.0\n")
    return content.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """PyPI's answers; the test may change the one file that it lists."""
    machine(monkeypatch, "Linux", "x86_64")
    monkeypatch.setattr(make, "BOOTSTRAP", tmp_path)
    file = {
        "filename": FILES[4]["filename"],
        "url": "../../packages/uv.whl",
        "digests": {"sha256": hashlib.sha256(wheel()).hexdigest()},
    }

    def urlopen(url: str, **_: Any) -> io.BytesIO:
        return io.BytesIO(json.dumps({"urls": [file]}).encode() if url == make.PYPI else wheel())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return file


@pytest.mark.skipif(sys.platform == "win32", reason="the wheel of this test holds a shell script")
def test_a_downloaded_uv_runs(index: dict[str, Any], tmp_path: Path) -> None:
    make.by_download()

    assert make.works(str(tmp_path / "wheel" / "uv"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("digests", {"sha256": "0" * 64}), ("url", "http://elsewhere/uv.whl"), ("url", "file:///x")],
)
def test_a_download_that_pypi_does_not_vouch_for_is_refused(
    index: dict[str, Any], tmp_path: Path, field: str, value: object
) -> None:
    index[field] = value

    with pytest.raises(ValueError, match="PyPI"):
        make.by_download()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "usable"), [("uv 0.13.9", True), ("uv 0.7.22", False), ("no uv here", False)]
)
def test_a_uv_that_is_too_old_to_read_the_lock_is_not_used(
    tmp_path: Path, answer: str, usable: bool
) -> None:
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\necho {answer}\n")
    program.chmod(0o755)

    assert make.works(str(program)) is usable


def test_the_project_gets_no_other_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")

    assert not {"VIRTUAL_ENV", "PYTHONPATH"} & make.clean_environment().keys()


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["bogus"], 2), (["--help"], 0)])
def test_usage_is_shown_without_any_set_up(arguments: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, str(make.ROOT / "make.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code
    assert "python3 make.py demo" in done.stdout


STATIC = ["ruff", "ruff", "lint-imports", "mypy"]


@pytest.mark.parametrize(
    ("words", "names", "tests"),
    [
        ("quick", [*STATIC, "pytest"], "not server and not thorough"),
        ("test", [*STATIC, "pytest"], None),
        ("test --all", [*STATIC, "pytest", "python"], ""),
        ("test --rest", ["pytest", "python"], "thorough or hypothesis"),
        ("test -k gate", [*STATIC, "pytest"], None),
        ("test --all -k gate", [*STATIC, "pytest"], ""),
    ],
)
def test_the_checks_of_a_command_go_from_fast_to_slow(
    words: str, names: list[str], tests: str | None
) -> None:
    command, *arguments = words.split()

    checks = make.list_checks(*make.choose_scope(command, arguments))

    assert [name for name, *_ in checks] == names
    pytest_words = next(words for words in checks if words[0] == "pytest")
    assert dict(pairwise(pytest_words)).get("-m") == tests
    assert ("gate" in pytest_words) is ("gate" in arguments)


def test_what_takes_long_runs_together_and_only_after_what_fails_at_once() -> None:
    groups = make.group_checks(make.list_checks(make.SCOPES["--all"], []))

    assert [[name for name, *_ in group] for group in groups] == [
        ["ruff"],
        ["ruff"],
        ["lint-imports", "mypy", "pytest"],
        ["python"],
    ]


def test_packages_are_installed_only_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []

    def attempt(command: list[str], environment: dict[str, str]) -> bool:
        assert environment["DEBIAN_FRONTEND"] == "noninteractive"
        commands.append(command)
        return True

    monkeypatch.setattr(make, "attempt", attempt)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not make.install(["redis-server"])
    assert make.install([])
    assert commands == []

    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert make.install(["postgresql", "redis-server"])
    assert [command[1] for command in commands] == ["update", "install"]
    assert commands[-1][-2:] == ["postgresql", "redis-server"]


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_what_fails_beside_others_is_shown_whole_and_interrupts_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lasts = python("import signal; print('runs', flush=True); signal.pause()")
    fails = python("import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)")

    assert make.run_together([fails, lasts], make.clean_environment()) == 3
    out, err = capfd.readouterr()
    assert "one\ntwo\n" in out or "two\none\n" in out
    assert "failed" in err


def test_it_interrupts_them_in_the_background_of_a_shell_too() -> None:
    """There SIGINT is ignored, and what is started inherits that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    lasts, fails = python("import signal; signal.pause()"), python("import sys; sys.exit(3)")
    try:
        assert make.run_together([fails, lasts], make.clean_environment()) == 3
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_runs_together_succeeds_if_all_do(capfd: pytest.CaptureFixture[str]) -> None:
    done = [python("print('types')"), python("print('tests')")]

    assert make.run_together(done, make.clean_environment()) == 0
    assert sorted(capfd.readouterr().out.split()) == ["python:", "tests", "types"]


def test_the_tests_of_the_core_are_where_quick_looks_for_them() -> None:
    assert [path for path in make.CORE_LAWS if not (make.ROOT / path).is_file()] == []


def test_what_python_compiles_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    assert "PYTHONDONTWRITEBYTECODE" not in make.clean_environment()


def compiled(folder: Path, source: Path | None = None, text: str = "print(__file__)") -> Path:
    """Import a module in the folder, copied from ``source`` if given; the file Python compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    module = folder / "module.py"
    if source:
        shutil.copy2(source / module.name, module)
    else:
        module.write_text(text)
    environment = {**make.clean_environment(), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", "import module; print(module.__loader__.get_code('module'))"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert str(module) in out.stdout.splitlines()[-1]
    return folder / "__pycache__" / f"module.{sys.implementation.cache_tag}.pyc"


def test_what_python_compiled_in_one_clone_is_used_in_the_next(tmp_path: Path) -> None:
    first, cache, second = (tmp_path / name for name in ("first", "cache", "second"))
    file = compiled(first / "package")
    rewritten = file.with_name(f"module.{sys.implementation.cache_tag}-pytest-9.2.pyc")
    rewritten.write_bytes(b"has paths of the first clone")

    make.link_bytecode(first, cache)
    make.link_bytecode(cache, second)

    assert compiled(second / "package", source=first / "package").samefile(file)
    assert [path.name for path in cache.rglob("*.pyc")] == [file.name]


def test_what_was_compiled_of_another_version_is_replaced(tmp_path: Path) -> None:
    first, cache, second = (tmp_path / name for name in ("first", "cache", "second"))
    compiled(first / "package")
    make.link_bytecode(first, cache)
    make.link_bytecode(cache, second)

    newer = compiled(second / "package", text="print('another', __file__)")
    make.link_bytecode(second, cache)

    [kept] = cache.rglob("*.pyc")
    assert kept.samefile(newer)
    assert b"another" in kept.read_bytes()


def test_nothing_is_linked_where_nothing_was_compiled(tmp_path: Path) -> None:
    make.link_bytecode(tmp_path / "cache", tmp_path / "environment")

    assert list(tmp_path.iterdir()) == []
