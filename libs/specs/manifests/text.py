"""Conversion of YAML and JSON text to plain data and back, without YAML 1.1's surprises.

``safe_load`` reads the ticker ``ON`` as true, ``000001`` as 1, ``16:00`` as 960 and ``1e-3`` as
text. Here scalars follow YAML 1.2's core schema (merge keys still work), dates stay text as in
JSON, and a repeated key is an error instead of a silent loss.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml

from prefect_instances.libs.core.errors import Problem


def read_yaml(text: str) -> tuple[list[Any], list[Problem]]:
    """Parse the documents of a YAML stream up to the first syntax error; return that error too."""
    documents: list[Any] = []
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        return documents, [_yaml_problem(error, text)]
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # the stubs lack its types
            documents.append(loader.get_data())
    except yaml.YAMLError as error:
        return documents, [_yaml_problem(error, text)]
    except RecursionError:
        return documents, [Problem("", "is nested too deeply")]
    finally:
        loader.dispose()
    return documents, []


def write_yaml(document: Any) -> str:
    """Write JSON data as YAML that ``read_yaml`` and YAML 1.1 parsers read back equal."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


def read_json(text: str) -> tuple[list[Any], list[Problem]]:
    """Parse the one document of a JSON text; return it, or the syntax error."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        return [], [Problem(_place(error.lineno, error.colno), f"is not JSON: {error.msg}")]
    except (RecursionError, ValueError):
        return [], [Problem("", "cannot be read: it is nested too deeply or a number is too long")]
    return [document], [Problem("", f"contains the key {key!r} twice") for key in repeated]


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the scalars of YAML 1.2's core schema and unique keys."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the base class declares it so

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct as the base class does; a repeated key is an error, a merged one is not."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            identity = (key.tag, str(key.value))
            if identity in seen and key.tag != _MERGE:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(identity)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """Construct a decimal or hexadecimal integer."""
        try:
            return int(
                node.value, 16 if node.value.lower().startswith(("0x", "-0x", "+0x")) else 10
            )
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, "the number is too long", node.start_mark
            ) from error


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that also quotes texts which YAML 1.2 reads as other types."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # the base class declares it so
        first: list(resolvers)
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value in full, because anchors are hard to edit."""
        del data
        return True


_MERGE = "tag:yaml.org,2002:merge"
_NO_ZERO_PADDING = r"[-+]?(?:0|[1-9][0-9]*)"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", rf"{_NO_ZERO_PADDING}|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        rf"{_NO_ZERO_PADDING}(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    for _notation in (_Loader, _Dumper):
        _notation.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)


def _yaml_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        detail = ", ".join(part for part in (error.context, error.problem) if part)
        path = _place(mark.line + 1, mark.column + 1) if mark else ""
        return Problem(path, f"is not YAML: {detail}{_syntax_hint(detail)}")
    position = getattr(error, "position", None)
    if isinstance(position, int):
        before = text[:position]
        path = _place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
        return Problem(path, "is not YAML: a control character that YAML does not allow")
    return Problem("", f"is not YAML: {error}")


def _syntax_hint(detail: str) -> str:
    if "alias" in detail or "anchor" in detail:
        return " (a text that begins with * or & needs quotes)"
    if "\\t" in detail:
        return " (indent with spaces, not tabs)"
    return ""


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}"
