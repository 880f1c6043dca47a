"""What the pages for people say of the code is so: files, functions, settings, links and words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from prefect_instances.deployments.apply import block_classes
from prefect_instances.libs.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("flows", "blocks", "deployments", "cli", "libs", "tests")


def code_spans(page: Path) -> list[str]:
    """What a page quotes as code within a sentence; fenced blocks are left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def names_in(file: Path) -> set[str]:
    """The functions, classes, methods and constants of a module, methods as ``Class.method``."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, methods)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def is_module_or_member(dotted: str) -> bool:
    """Whether ``libs.core.gate`` or ``libs.core.gate.evaluate`` is there."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    return module.is_file() and path.name in names_in(module)


def written_table() -> dict[str, str]:
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \|.*\| (.*?) \|$", PAGES[0].read_text(), re.MULTILINE)
    return dict(rows)


def test_each_function_that_a_page_names_is_in_the_file() -> None:
    missing = []
    for page in PAGES:
        for span in code_spans(page):
            if not (match := re.fullmatch(r"([\w/]+\.py):(\w+(?:\.\w+)?)", span)):
                continue
            file = ROOT / match[1]
            if not file.is_file() or match[2] not in names_in(file):
                missing.append(f"{page.name}: {span}")

    assert missing == []


def test_each_file_that_a_page_names_is_there() -> None:
    pattern = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w/]*(?:\.\w+)?")
    named = {(page.name, span) for page in PAGES for span in code_spans(page)}
    paths = {(page, span) for page, span in named if pattern.fullmatch(span)}

    assert [entry for entry in sorted(paths) if not (ROOT / entry[1]).exists()] == []
    assert len(paths) > 30


def test_each_module_that_a_page_names_is_there() -> None:
    pattern = re.compile(rf"\b(?:prefect_instances\.)?((?:{'|'.join(FOLDERS)})(?:\.(?!md\b)\w+)+)")
    named = {(page.name, name) for page in PAGES for name in pattern.findall(page.read_text())}

    assert [entry for entry in sorted(named) if not is_module_or_member(entry[1])] == []


def test_code_that_readers_copy_imports_the_public_names_only() -> None:
    pages = [page for page in PAGES if page.parent.name != "decisions"]
    copied = {
        page.name: re.findall(r"```python\n(.*?)```", page.read_text(), re.S) for page in pages
    }
    copied |= {cls.__name__: [cls.get_code_example() or ""] for cls in block_classes()}
    found = {
        (place, match)
        for place, texts in copied.items()
        for text in texts
        for match in re.findall(
            r"^ *from ((?:prefect_instances|blocks|libs|flows)\b[\w.]*)", text, re.M
        )
    }

    assert {module for _, module in found} <= {"prefect_instances", "prefect_instances.blocks"}
    assert {place for place, _ in found} >= {"realtime.md", "DatasetInstance"}


def test_links_between_pages_lead_somewhere() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in link
    ]

    assert [f"{p.name}: {link}" for p, link in links if not (p.parent / link).exists()] == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_table_of_settings_says_what_each_setting_says(name: str) -> None:
    assert written_table().get(name.upper()) == Settings.model_fields[name].description


def test_the_table_of_settings_lists_no_other_setting() -> None:
    assert set(written_table()) == {name.upper() for name in Settings.model_fields}


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()

    assert [file.name for file in folder.glob("0*.md") if f"({file.name})" not in index] == []


def test_the_glossary_has_at_most_25_words() -> None:
    rows = [
        line for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if "|" in line
    ]

    assert len(rows) - 2 <= 25
