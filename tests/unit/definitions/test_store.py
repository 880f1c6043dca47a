"""Locations never leave the root of their store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_instances.libs.definitions.store import LocationRefused, inside


@pytest.mark.parametrize(
    "location",
    ["..", "../x", "a/../../x", "/etc/passwd", "", ".", "a/..", "\0", "a\\..\\b", "a/../b"],
)
def test_a_location_that_climbs_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(LocationRefused):
        inside(tmp_path, location)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root)
    with pytest.raises(LocationRefused):
        inside(root, "out/x")
    assert inside(root, "in/x") == root.resolve() / "x"


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "rooted").mkdir()
    (root / "out").symlink_to(tmp_path / "rooted")
    with pytest.raises(LocationRefused):
        inside(root, "out")


@given(location=st.text(alphabet="./\\a~\0", max_size=12))
def test_whatever_the_text_the_path_is_inside_or_refused(location: str) -> None:
    root = Path("/srv/store")
    try:
        path = inside(root, location)
    except LocationRefused:
        return
    assert root.resolve() in path.parents
