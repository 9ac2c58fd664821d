"""The schema for editors, and what importing the package costs others."""

import json
import subprocess
import sys
from typing import Any

from eventing.resources import KINDS, schema
from eventing.resources.api_versions import API_VERSIONS, OLDER_API_VERSIONS


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def test_every_kind_is_in_it_with_its_version() -> None:
    whole = schema()
    for kind, api_version in API_VERSIONS.items():
        definition = whole["$defs"][kind]
        assert {"$ref": f"#/$defs/{kind}"} in whole["oneOf"]
        assert definition["properties"]["kind"]["const"] == kind
        allowed = definition["properties"]["apiVersion"]
        older = OLDER_API_VERSIONS.get(kind, ())
        assert allowed.get("enum", [allowed.get("const")]) == [api_version, *older]
        assert {"apiVersion", "kind", "metadata"} <= set(definition["required"])
        assert definition["additionalProperties"] is False
    assert KINDS.keys() == API_VERSIONS.keys()


def test_it_is_json_and_closed_in_itself() -> None:
    whole = json.loads(json.dumps(schema()))
    known = {f"#/$defs/{name}" for name in whole["$defs"]}
    assert references(whole) <= known


def test_it_uses_the_names_of_documents() -> None:
    properties = schema()["$defs"]["TriggerSpec"]["properties"]
    assert "brokerRef" in properties
    assert "broker_ref" not in properties
    assert "not" in schema()["$defs"]["Filter"]["properties"]


def test_importing_the_package_imports_nothing_of_the_node() -> None:
    heavy = {
        "asyncio",
        "starlette",
        "uvicorn",
        "rich",
        "click",
        "jsonata",
        "sqlite3",
        "cloudevents",
    }
    code = (
        "import sys, eventing.resources; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)
