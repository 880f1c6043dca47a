"""Manifests: the instances of one or more projects, as text or files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.ids import NAME_HELP
from prefect_instances.libs.specs.instances.instance import WRAPPER
from prefect_instances.libs.specs.instances.registry import InstanceSpec
from prefect_instances.libs.specs.manifests.documents import read_spec, salvage_spec
from prefect_instances.libs.specs.manifests.text import read_json, read_yaml
from prefect_instances.libs.specs.reading.names import is_name
from prefect_instances.libs.specs.reading.problems import kind_of, unknown_key

DEFAULT_PROJECT = "default"
SUFFIXES = (".json", ".yaml", ".yml")
EXTENSION = "x-"
"""Prefix of top-level keys that are ignored; they may hold the targets of YAML anchors."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The instances of a manifest, in the order of the text.

    ``project`` is the first one that the manifest declares ("default" if none). ``projects`` are
    all that it declares or that its instances belong to; an apply does not touch any other.
    """

    project: str
    instances: list[InstanceSpec]
    projects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """The valid part of a manifest, and all its problems.

    ``paths`` locate the manifest's instances, in their order. ``salvaged`` holds path and valid
    part of each faulty instance, so that checks against the installed definitions can find more
    faults.
    """

    manifest: Manifest
    paths: tuple[str, ...]
    salvaged: tuple[tuple[str, InstanceSpec], ...] = ()
    problems: tuple[Problem, ...] = ()

    def sound(self) -> Manifest:
        """Return the manifest; raise ``InvalidSpec`` with every problem if there is any."""
        if self.problems:
            raise InvalidSpec(self.problems)
        return self.manifest


@dataclass(slots=True)
class _Gathered:
    """The results collected from the documents of one manifest."""

    specs: list[InstanceSpec] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    salvaged: list[tuple[str, InstanceSpec]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    paths: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def parse_manifest(source: str | Mapping[str, Any]) -> Manifest:
    """Parse a manifest from YAML text (one or several documents) or one parsed document.

    A document holds ``instances`` and, as their default, a ``project``; or it is itself one
    instance. Raises ``InvalidSpec`` with every problem of all documents.
    """
    return survey_manifest(source).sound()


def survey_manifest(source: str | Mapping[str, Any]) -> Survey:
    """Parse as ``parse_manifest`` does, but return valid parts and problems instead of raising."""
    gathered = _Gathered()
    if isinstance(source, str):
        _take_text(gathered, source, read_yaml)
    else:
        _take(gathered, [source])
    return _survey(gathered)


def load_manifest(path: Path) -> Manifest:
    """Load a manifest from a file, or from the YAML and JSON files of a folder.

    Reads ``*.yaml``, ``*.yml`` and ``*.json``. Raises ``InvalidSpec`` with every problem of all
    files, each path beginning with its file.
    """
    return survey_files(path).sound()


def survey_files(path: Path) -> Survey:
    """Load as ``load_manifest`` does, but return valid parts and problems instead of raising.

    Raises ``InvalidSpec`` if there is nothing to read.
    """
    gathered = _Gathered()
    if not path.exists():
        raise InvalidSpec([Problem(str(path), "does not exist")])
    files = _files(path) if path.is_dir() else [path]
    if not files:
        raise InvalidSpec([Problem(str(path), f"contains no {', '.join(SUFFIXES)} file")])
    for file in files:
        _take_file(gathered, file)
    return _survey(gathered)


def _files(folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file()]
    return sorted(found, key=lambda file: file.name)


def _take_file(gathered: _Gathered, file: Path) -> None:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        gathered.problems.append(Problem(file.name, "is not UTF-8 text"))
        return
    except OSError as error:
        gathered.problems.append(Problem(file.name, f"cannot be read: {error.strerror}"))
        return
    _take_text(gathered, text, read_json if file.suffix == ".json" else read_yaml, f"{file.name}: ")


def _take_text(gathered: _Gathered, text: str, read: Any, prefix: str = "") -> None:
    documents, problems = read(text)
    gathered.problems += [_prefixed(problem, prefix) for problem in problems]
    documents = [document for document in documents if document is not None]
    if not documents and not problems:
        gathered.problems.append(
            _prefixed(Problem("", "is empty: it contains no instances"), prefix)
        )
    _take(gathered, documents, prefix)


def _take(gathered: _Gathered, documents: Iterable[Any], prefix: str = "") -> None:
    several = list(documents)
    for index, document in enumerate(several):
        place = f"documents[{index}]" if len(several) > 1 else ""
        _take_document(gathered, document, place, prefix)


def _take_document(gathered: _Gathered, document: Any, place: str, prefix: str) -> None:
    if not isinstance(document, Mapping):
        message = f"must be a mapping with `instances`, not {kind_of(document)}"
        gathered.problems.append(_prefixed(Problem("", message).under(place), prefix))
        return
    if "instances" not in document and ("type" in document or "name" in document):
        _take_instance(gathered, document, place, prefix)
        return
    for key in document:
        if key not in ("project", "instances") and not str(key).startswith(EXTENSION):
            message = unknown_key(str(key), "a manifest", ("project", "instances"))
            gathered.problems.append(_prefixed(Problem(str(key), message).under(place), prefix))
    project = _project(gathered, document, place, prefix)
    instances = document.get("instances")
    if not isinstance(instances, list | tuple):
        message = "is missing" if instances is None else f"must be a list, not {kind_of(instances)}"
        gathered.problems.append(_prefixed(Problem("instances", message).under(place), prefix))
        return
    for index, instance in enumerate(instances):
        path = Problem(f"instances[{index}]", "").under(place).path
        _take_instance(gathered, _within(instance, project), path, prefix)


def _project(gathered: _Gathered, document: Mapping[Any, Any], place: str, prefix: str) -> str:
    """Return the project that the document declares; empty if none or an invalid one."""
    given = document.get("project")
    if given is None:
        return ""
    if isinstance(given, str) and is_name(given.strip()):
        gathered.declared.append(given.strip())
        return given.strip()
    shown = f"{given[:60]!r} is not a legal name" if isinstance(given, str) else "must be text"
    problem = Problem("project", f"{shown}: {NAME_HELP}")
    gathered.problems.append(_prefixed(problem.under(place), prefix))
    return ""


def _within(instance: Any, project: str) -> Any:
    """Return the instance's document with ``project`` as the default."""
    if not project or not isinstance(instance, Mapping):
        return instance
    wrapped = instance.get(WRAPPER)
    named = instance.get("project") is not None
    named = named or (isinstance(wrapped, Mapping) and wrapped.get("project") is not None)
    return instance if named else {**instance, "project": project}


def _take_instance(gathered: _Gathered, instance: Any, path: str, prefix: str) -> None:
    spec, problems = read_spec(instance, path)
    gathered.problems += [_prefixed(problem, prefix) for problem in problems]
    if spec is not None and not problems:
        gathered.specs.append(spec)
        gathered.places.append(prefix + path)
    elif (legible := salvage_spec(instance)) is not None:
        gathered.salvaged.append((prefix + path, legible))
    name, project = _identity(instance)
    if name:
        place = prefix + Problem("name", "").under(path).path
        gathered.paths.setdefault((project.lower(), name.lower()), []).append(place)


def _identity(instance: Any) -> tuple[str, str]:
    """Return name and project as written, so that repetitions among faulty instances are found."""
    if not isinstance(instance, Mapping):
        return "", ""
    wrapped = instance.get(WRAPPER)
    both = {**(wrapped if isinstance(wrapped, Mapping) else {}), **instance}
    name, project = both.get("name"), both.get("project") or DEFAULT_PROJECT
    return (name.strip() if isinstance(name, str) else ""), str(project).strip()


def _survey(gathered: _Gathered) -> Survey:
    problems = gathered.problems + _repetitions(gathered.paths)
    projects = {*gathered.declared, *(spec.project for spec in gathered.specs)}
    first = gathered.declared[0] if gathered.declared else DEFAULT_PROJECT
    manifest = Manifest(first, gathered.specs, tuple(sorted(projects)))
    return Survey(manifest, tuple(gathered.places), tuple(gathered.salvaged), tuple(problems))


def _repetitions(paths: Mapping[tuple[str, str], list[str]]) -> list[Problem]:
    """Report a problem at every place that uses a name which another place also uses."""
    problems = []
    for (project, name), places in paths.items():
        for place in places if len(places) > 1 else ():
            others = ", ".join(other for other in places if other != place)
            message = f"{name!r} is given more than once in project {project!r} (see {others})"
            problems.append(Problem(place, message))
    return problems


def _prefixed(problem: Problem, prefix: str) -> Problem:
    return Problem((prefix + problem.path).removesuffix(": "), problem.message)
