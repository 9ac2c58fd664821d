"""CustomResourceDefinitions from a folder that a variable names: the very documents that a cluster
is given to know a kind.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = "CLUSTER_CRDS"
"""A variable that names a folder: every CRD in a YAML file there or below it counts. A checkout of
a project that publishes its CRDs does, or several of them side by side."""


def crd_schema(api_version: str, kind: str) -> dict[str, Any] | None:
    """The schema of a kind in one of its versions; None where the folder has no CRD of the kind,
    or is not named."""
    group, _, version = api_version.partition("/")
    folder = os.environ.get(FOLDER)
    found = _crds(folder).get((group, kind), {}) if folder else {}
    schemas: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, versions in found.items():
        for each in versions:
            name, schema = each["name"], each["schema"]["openAPIV3Schema"]
            first, known = schemas.setdefault(name, (path, schema))
            if known != schema:
                pytest.fail(
                    f"{first} and {path} differ about {group}/{name} {kind}: {FOLDER} should name "
                    "a folder with one of them",
                    pytrace=False,
                )
    if found and version not in schemas:
        pytest.fail(
            f"the CRD of {kind} in {', '.join(map(str, found))} has no version {version}; it has "
            f"{', '.join(sorted(schemas))}",
            pytrace=False,
        )
    return schemas[version][1] if found else None


@cache
def _crds(given: str) -> dict[tuple[str, str], dict[Path, list[dict[str, Any]]]]:
    """The versions that are served, by group and kind, then by file."""
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"{FOLDER} is {given}, and that is no folder", pytrace=False)
    found: dict[tuple[str, str], dict[Path, list[dict[str, Any]]]] = {}
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        text = path.read_text("utf-8") if path.is_file() else ""
        # Others may be templates, which are no YAML yet.
        if "\nkind: CustomResourceDefinition" not in f"\n{text}":
            continue
        try:
            documents = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
        except yaml.YAMLError as error:
            pytest.fail(f"{path} in the folder of {FOLDER} is not YAML: {error}", pytrace=False)
        for document in documents:
            if document and document.get("kind") == "CustomResourceDefinition":
                spec = document["spec"]
                served = [each for each in spec.get("versions", []) if each["served"]]
                found.setdefault((spec["group"], spec["names"]["kind"]), {})[path] = served
    return found
