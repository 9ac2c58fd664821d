"""Resources back to YAML and JSON, in the words they were written in; secrets stay hidden."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from eventing.resources.resource import Resource


def to_document(resource: Resource) -> dict[str, Any]:
    """The resource as plain data: what its author set, and nothing that is a default.

    A Secret's values are asterisks, which no Secret can be loaded with.
    """
    said = resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {"apiVersion": resource.api_version, "kind": resource.kind} | said


def to_yaml(resources: Sequence[Resource]) -> str:
    """One document each."""
    return yaml.dump_all(
        map(to_document, resources),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )


def to_json(resources: Sequence[Resource]) -> str:
    """One resource as an object, several as a `List` of them."""
    documents = [to_document(resource) for resource in resources]
    whole = {"apiVersion": "v1", "kind": "List", "items": documents}
    return json.dumps(documents[0] if len(documents) == 1 else whole, indent=2, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
