"""Every column of our tables is used by the code: none is left from an earlier design."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import prefect_instances.libs.db.models as models
from prefect_instances.libs.services.composition.instance_types.instance_type import (
    map_model_handles,
)

LIBS = Path(models.__file__).parents[2]
DECLARED = (LIBS / "db" / "models", LIBS / "db" / "migrations")


def words(tree: ast.AST) -> Iterator[str]:
    """Yield every attribute, keyword and text of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_column_is_used() -> None:
    files = [path for path in LIBS.rglob("*.py") if not {*path.parents} & {*DECLARED}]
    used = {word for path in files for word in words(ast.parse(path.read_text()))}
    used |= set(map_model_handles().values())

    columns = [
        f"{mapper.class_.__name__}.{column.key}"
        for mapper in models.Base.registry.mappers
        for column in mapper.column_attrs
    ]

    assert len(columns) > 100
    assert [name for name in columns if name.partition(".")[2] not in used] == []
