"""Resources back to YAML and JSON, in the words they were written in; secrets stay hidden."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from eventing.resources.resource import Resource
from eventing.resources.scalars import resolve


def to_document(resource: Resource) -> dict[str, Any]:
    """The resource as plain data: what its author set, and nothing that is a default.

    A Secret's values are asterisks, which no Secret can be loaded with.
    """
    said = resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {"apiVersion": resource.api_version, "kind": resource.kind} | said


def to_yaml(resources: Sequence[Resource]) -> str:
    """One document each."""
    return documents_to_yaml(map(to_document, resources))


def documents_to_yaml(documents: Iterable[dict[str, Any]]) -> str:
    """One document each, texts of several lines as blocks."""
    return yaml.dump_all(
        documents,
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


_ODD_BREAKS = frozenset("\r\x85\u2028\u2029")
"""Line breaks to YAML 1.1, which only an escape keeps apart from a line feed."""


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _reads_as_block(text: str) -> bool:
    """Several lines that PyYAML writes as a block and reads back the same."""
    lines = text.split("\n")
    return (
        len(lines) > 1
        and text[0] not in " \n"
        and all(line.isprintable() and not line.endswith(" ") for line in lines)
    )


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if _reads_as_block(text):
        style = "|"
    elif not _ODD_BREAKS.isdisjoint(text):
        style = '"'
    elif resolve(text) is not text:  # `1E3` is a number to YAML 1.2, and text to PyYAML
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
