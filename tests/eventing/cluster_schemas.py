"""What clusters take of each kind: by its CRD where a folder of them is named (cluster_crds), else
by its model from npm's packages (cluster_models). Nothing of either is kept here.

A cluster drops a field that its schema does not know and says nothing; here such a field is a
fault, so that a misspelt one is found.
"""

from functools import cache
from typing import Any, NoReturn

import pytest
from cluster_crds import FOLDER, crd_schema
from cluster_models import MODELS, model_faults, model_fields
from jsonschema import Draft202012Validator
from npm_packages import FETCH_SECONDS
from service_rule import needed

SECONDS = FETCH_SECONDS + 120
"""The time that a test needs which may have to install the models first."""
_BESIDE_SCHEMA = {
    # Let through by `x-kubernetes-preserve-unknown-fields`, as its comment there says.
    "delivery": {"timeout": {"type": "string"}},
}


def faults(document: dict[str, Any]) -> list[str]:
    """What a cluster has against a document. Skips the test where neither way knows its kind."""
    api_version, kind = document["apiVersion"], document["kind"]
    if (validator := _validator(api_version, kind)) is not None:
        found = [f"{each.json_path}: {each.message}" for each in validator.iter_errors(document)]
    elif kind in MODELS:
        with needed():
            found = model_faults(document)
    else:
        _unknown(kind)
    return [f"{kind} {document['metadata']['name']}: {each}" for each in found]


def fields(api_version: str, kind: str) -> dict[str, Any]:
    """A schema with all fields of a kind. Skips the test where neither way knows the kind."""
    if (schema := crd_schema(api_version, kind)) is not None:
        return schema
    if kind not in MODELS:
        _unknown(kind)
    with needed():
        return model_fields(api_version, kind)


def _unknown(kind: str) -> NoReturn:
    pytest.skip(f"set {FOLDER} to a folder with the CRD of {kind}, which no package of npm has")


@cache
def _validator(api_version: str, kind: str) -> Draft202012Validator | None:
    published = crd_schema(api_version, kind)
    if published is None:
        return None
    properties = published["properties"] | {
        "apiVersion": {"const": api_version},
        "kind": {"const": kind},
        "metadata": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 253},
                "namespace": {"type": "string", "maxLength": 63},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["name"],
        },
    }
    properties.pop("status", None)
    return Draft202012Validator(_closed(published | {"properties": properties}))


def _closed(schema: Any, name: str = "") -> Any:
    """The schema, with no field allowed that it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {below: _closed(part, below) for below, part in value.items()}
        if key == "properties"
        else _closed(value)
        for key, value in schema.items()
    }
    if "properties" in closed and closed.get("type") == "object":
        closed["properties"] |= _BESIDE_SCHEMA.get(name, {})
        closed.setdefault("additionalProperties", False)
    return closed
