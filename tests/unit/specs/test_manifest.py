"""Manifests: several instances in one text, in several documents, in files and folders."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import (
    Manifest,
    SignalSpec,
    load_manifest,
    parse_manifest,
    spec_document,
)

DEMO = """
project: demo
instances:
  - name: sp500_prices
    type: DatasetInstance
    pipeline:
      definition: market_data
      config: {symbols: [AAPL, MSFT], start_date: 2015-01-01}
    store: {definition: parquet, config: {}}
    accessor: {definition: point_in_time, config: {}}
    schedule: {type: cron, expression: "0 6 * * 1-5", timezone: America/New_York, calendar: XNYS}
  - name: momentum_12m
    type: SignalInstance
    pipeline: {definition: expression, config: {expression: "ZSCORE(DELTA(close, 252))"}}
    upstream_refs: [{resource: sp500_prices, role: input}]
"""


def paths_of(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        parse_manifest(dedent(text))
    return [problem.path for problem in caught.value.problems]


def messages_of(text: str) -> str:
    with pytest.raises(InvalidSpec) as caught:
        parse_manifest(dedent(text))
    return str(caught.value)


def names_of(manifest: Manifest) -> list[str]:
    return [f"{spec.project}/{spec.name}" for spec in manifest.instances]


def configured(value: str) -> object:
    """What the YAML scalar ``value`` becomes in a configuration."""
    text = "{name: a, type: DatasetInstance, pipeline: {definition: file, config: {x: %s}}}"
    return parse_manifest(text % value).instances[0].pipeline.config["x"]


def test_the_example_of_the_design_is_read() -> None:
    manifest = parse_manifest(DEMO)
    assert (manifest.project, manifest.projects) == ("demo", ("demo",))
    assert names_of(manifest) == ["demo/sp500_prices", "demo/momentum_12m"]
    assert manifest.instances[0].pipeline.config["start_date"] == "2015-01-01"
    assert isinstance(manifest.instances[1], SignalSpec)


def test_the_project_at_the_top_is_for_instances_that_name_none() -> None:
    manifest = parse_manifest(
        """
        project: demo
        instances:
          - {name: a, type: DatasetInstance, pipeline: file}
          - {name: b, type: DatasetInstance, pipeline: file, project: other}
          - {name: c, type: DatasetInstance, metadata_json: {definition: file, project: third}}
        """
    )
    assert names_of(manifest) == ["demo/a", "other/b", "third/c"]
    assert manifest.projects == ("demo", "other", "third")


def test_without_a_project_the_default_one_is_meant() -> None:
    manifest = parse_manifest("instances: [{name: a, type: DatasetInstance, pipeline: file}]")
    assert (manifest.project, names_of(manifest)) == ("default", ["default/a"])


def test_a_project_without_instances_is_a_manifest_that_asks_for_none() -> None:
    assert parse_manifest("project: demo\ninstances: []") == Manifest("demo", [], ("demo",))


def test_several_documents_are_one_manifest() -> None:
    manifest = parse_manifest(f"{DEMO}\n---\nname: b\ntype: DatasetInstance\npipeline: file\n---\n")
    assert names_of(manifest) == ["demo/sp500_prices", "demo/momentum_12m", "default/b"]


def test_a_document_that_was_read_already_is_a_manifest_too() -> None:
    document = {"instances": [{"name": "a", "type": "DatasetInstance", "pipeline": "file"}]}
    assert names_of(parse_manifest(document)) == ["default/a"]


def test_anchors_may_be_kept_under_free_keys() -> None:
    manifest = parse_manifest(
        """
        x-daily: &daily {type: cron, expression: "0 6 * * *"}
        instances:
          - {name: a, type: DatasetInstance, pipeline: file, schedule: *daily}
          - name: b
            type: DatasetInstance
            pipeline: file
            schedule: {<<: *daily, grace_minutes: 5}
        """
    )
    assert [spec.schedule.grace_minutes for spec in manifest.instances] == [60, 5]
    assert {spec.schedule.expression for spec in manifest.instances} == {"0 6 * * *"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ON", "ON"),
        ("NO", "NO"),
        ("Y", "Y"),
        ("yes", "yes"),
        ("true", True),
        ("FALSE", False),
        ("000001", "000001"),
        ("0700.HK", "0700.HK"),
        ("16:00", "16:00"),
        ("2015-01-01", "2015-01-01"),
        ("2015-02-30", "2015-02-30"),
        ("0x1F", 31),
        ("-12", -12),
        ("0", 0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("~", None),
        ("null", None),
        ('"null"', "null"),
    ],
)
def test_scalars_mean_what_a_quant_expects(written: str, meant: object) -> None:
    found = configured(written)
    assert found == meant
    assert type(found) is type(meant)


def test_every_problem_of_every_instance_is_reported() -> None:
    assert paths_of(
        """
        project: demo
        instances:
          - {name: a b, type: DatasetInstance, pipeline: file}
          - {name: ok, type: DatasetInstance, pipeline: file}
          - 7
          - {name: c, type: SignalInstance, pipeline: file, schedule: {timezone: x}, sgnal: {}}
          - {name: OK, type: Something}
        """
    ) == [
        "instances[0].name",
        "instances[1].name",
        "instances[2]",
        "instances[3].schedule.timezone",
        "instances[3].sgnal",
        "instances[4].name",
        "instances[4].type",
    ]


def test_a_repeated_name_is_a_problem_at_both_places() -> None:
    text = """
        project: demo
        instances:
          - {name: prices, type: DatasetInstance, pipeline: file}
          - {name: Prices, type: DatasetInstance, pipeline: file, project: DEMO}
          - {name: prices, type: DatasetInstance, pipeline: file, project: other}
        """
    assert paths_of(text) == ["instances[0].name", "instances[1].name"]
    assert "instances[1].name" in messages_of(text)


def test_a_repeated_name_is_seen_across_documents() -> None:
    document = "{name: a, type: DatasetInstance, pipeline: file}"
    assert paths_of(f"{document}\n---\ninstances: [{document}]") == [
        "documents[0].name",
        "documents[1].instances[0].name",
    ]


def test_a_bad_project_is_reported_once() -> None:
    text = "project: my project\ninstances: [{name: a, type: DatasetInstance, pipeline: file}]"
    assert paths_of(text) == ["project"]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", [""]),
        ("# nothing but a comment\n", [""]),
        ("---\n---\n", [""]),
        ("just words", [""]),
        ("- name: a", [""]),
        ("project: demo", ["instances"]),
        ("instances: 3", ["instances"]),
        ("instances: {a: 1}", ["instances"]),
        ("instances: []\ninstance: []", ["instance"]),
        ("instances: []\nproject: 3", ["project"]),
        ("instances: [\n", ["line 2, column 1"]),
        ("a: b: c", ["line 1, column 5"]),
        ("instances:\n\t- a", ["line 2, column 1"]),
        ("instances:\n  - expression: * * * * *", ["line 2, column 18"]),
        ("instances: []\nx-a: 1\nx-a: 2", ["line 3, column 1"]),
        ("instances: !!python/object/apply:os.system [ls]", ["line 1, column 12"]),
        ("instances: \x00", ["line 1, column 12"]),
        ("instances: []\n\x07", ["line 2, column 1"]),
        ("instances: *nowhere", ["line 1, column 12"]),
        ("x-n: " + "9" * 5000 + "\ninstances: []", ["line 1, column 6"]),
        ("[" * 3000, [""]),
        ("instances: &a [*a]", ["instances[0]"]),
    ],
)
def test_what_is_no_manifest_is_refused_where_it_goes_wrong(text: str, paths: list[str]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_manifest(text)
    assert [problem.path for problem in caught.value.problems] == paths


def test_a_syntax_error_does_not_hide_the_problems_before_it() -> None:
    text = "name: a b\ntype: DatasetInstance\npipeline: file\n---\n{\n"
    assert paths_of(text) == ["line 6, column 1", "name"]


def test_many_references_to_one_anchor_do_not_exhaust_the_memory() -> None:
    lines = ["x-0: &a0 [z, z, z, z, z, z, z, z, z, z]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    instance = "{name: a, type: DatasetInstance, pipeline: {definition: file, config: {x: *a8}}}"
    assert paths_of("\n".join([*lines, f"instances: [{instance}]"])) == [
        "instances[0].pipeline.config.x"
    ]


# --- files ------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return folder


def file_paths_of(path: Path) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        load_manifest(path)
    return [problem.path for problem in caught.value.problems]


def test_a_folder_is_one_manifest_in_the_order_of_its_files(tmp_path: Path) -> None:
    document = json.dumps({"name": "c", "type": "DatasetInstance", "pipeline": "file"}, indent="\t")
    one = "{name: %s, type: DatasetInstance, pipeline: file}"
    write(tmp_path, b_yml=one % "b", a_yaml=one % "a", c_json=document, notes_txt="[", d_md="{")
    assert names_of(load_manifest(tmp_path)) == ["default/a", "default/b", "default/c"]


def test_a_file_alone_is_a_manifest(tmp_path: Path) -> None:
    write(tmp_path, demo_yaml="\ufeff" + DEMO)
    assert len(load_manifest(tmp_path / "demo.yaml").instances) == 2


def test_problems_begin_with_their_file(tmp_path: Path) -> None:
    one = "{name: a, type: DatasetInstance, pipeline: file}"
    write(tmp_path, a_yaml=f"instances: [{one}]", b_yaml=one, c_yaml="{", d_json='{"a": 1,}')
    write(tmp_path, e_json='{"name": "e", "name": "f"}', f_yaml="", g_yaml="instances: [3]")
    (tmp_path / "h.yaml").write_bytes(b"\xff\xfe")
    assert file_paths_of(tmp_path) == [
        "a.yaml: instances[0].name",
        "b.yaml: name",
        "c.yaml: line 1, column 2",
        "d.json: line 1, column 9",
        "e.json",
        "e.json: pipeline",
        "e.json: type",
        "f.yaml",
        "g.yaml: instances[0]",
        "h.yaml",
    ]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert file_paths_of(tmp_path / "none.yaml") == [str(tmp_path / "none.yaml")]


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    assert file_paths_of(write(tmp_path, readme_md="#")) == [str(tmp_path)]


def test_a_manifest_written_from_its_specs_reads_the_same(tmp_path: Path) -> None:
    manifest = parse_manifest(DEMO)
    exported = {"project": "demo", "instances": [spec_document(s) for s in manifest.instances]}
    write(tmp_path, export_json=json.dumps(exported))
    assert load_manifest(tmp_path / "export.json") == manifest
