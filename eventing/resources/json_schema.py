"""The JSON Schema of all kinds, for editors."""

from typing import Any

from pydantic.json_schema import models_json_schema

from eventing.resources.kinds import KINDS


def schema() -> dict[str, Any]:
    """One schema (draft 2020-12) that a document of any kind has to fit."""
    references, definitions = models_json_schema(
        [(model, "validation") for model in KINDS.values()], by_alias=True
    )
    kinds = [references[(model, "validation")] for model in KINDS.values()]
    for model in KINDS.values():
        definition = definitions["$defs"][model.__name__]
        definition["required"] = ["apiVersion", "kind", *definition["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Resources of eventing",
        "oneOf": kinds,
        "$defs": definitions["$defs"],
    }
