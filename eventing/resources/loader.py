"""Loads resources from files, folders and texts; every mistake of all of them is told at once."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from eventing.resources.complaints import complaints
from eventing.resources.document import Document, read_documents
from eventing.resources.files import File, decode, find_files, read_file
from eventing.resources.kinds import KINDS, kind_complaint
from eventing.resources.nodes import MappingNode, Node, ScalarNode, SequenceNode
from eventing.resources.origin import Origin
from eventing.resources.place import Path, Place, Problem
from eventing.resources.resource import Identity, Resource, read_from

_SURROGATE_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(slots=True)
class Loaded:
    """What was read: the sound resources in the order they stand, and what is to be said.

    A document with an error is not among the resources; one with only warnings is.
    """

    resources: list[Resource] = field(default_factory=list)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def load(paths: Iterable[str | os.PathLike[str]]) -> Loaded:
    """Read the files and folders named (see `find_files`). Never raises: what can't be read is an
    error among the others."""
    loading = _Loading()
    for file in find_files(paths):
        text = read_file(file.path) if isinstance(file, File) else file
        if isinstance(text, Problem):
            loading.result.errors.append(text)
        elif isinstance(file, File):
            loading.read(text, str(file.path), named=file.named)
    return loading.result


def load_text(text: str | bytes, file: str = "<text>") -> Loaded:
    """Read a text as if it stood in a file of this name; JSON where the name ends in `.json`.
    Never raises."""
    loading = _Loading()
    decoded = decode(text, file) if isinstance(text, bytes) else text
    if isinstance(decoded, Problem):
        loading.result.errors.append(decoded)
    else:
        loading.read(decoded, file, named=True)
    return loading.result


class _Loading:
    """Gathers the resources of several files, and knows which it has met."""

    def __init__(self) -> None:
        self.result = Loaded()
        self._met: dict[Identity, Place] = {}

    def read(self, text: str, file: str, *, named: bool) -> None:
        if file.endswith(".json"):
            text = _SURROGATE_PAIR.sub(_one_escape, text)
        errors, warnings = self.result.errors, self.result.warnings
        first_error, first_warning = len(errors), len(warnings)
        documents = list(read_documents(text, file))
        if not named and documents and not any(_may_be_resource(each) for each in documents):
            place = Place(file, 1, 1)
            warnings.append(Problem.at(place, "skipped: no document in it has a kind"))
            return
        for document in documents:
            errors.extend(document.problems)
            if document.root is not None:
                self._document(document, document.root)
        errors[first_error:] = sorted(errors[first_error:])
        warnings[first_warning:] = sorted(warnings[first_warning:])

    def _document(self, document: Document, root: Node) -> None:
        if isinstance(root, MappingNode) and _text(root, "kind") == "List":
            items = root.entries.get("items", (root, root))[1]
            if isinstance(items, SequenceNode):
                for index, item in enumerate(items.items):
                    self._resource(document, root, item, ("items", index))
                return
        if root.value is not None:
            self._resource(document, root, root, ())

    def _resource(self, document: Document, root: Node, node: Node, prefix: Path) -> None:
        errors = self.result.errors
        source = document.place(node)
        kind, api_version = _text(node, "kind"), _text(node, "apiVersion")
        if not isinstance(node, MappingNode) or kind is None or api_version is None:
            message = "a resource is a mapping with an apiVersion and a kind, both text"
            errors.append(Problem.at(source, message))
            return
        complaint = kind_complaint(api_version, kind)
        if complaint:
            field = "kind" if kind not in KINDS else "apiVersion"
            errors.append(Problem.at(document.place(node.entries[field][1]), complaint))
            return
        origin = Origin(source, document.text, document.first_line, prefix)
        model = KINDS[kind]
        try:
            resource = model.model_validate(node.value, by_alias=True, by_name=False)
        except ValidationError as error:
            told = {problem.place for problem in document.problems}
            for each in complaints(error, model, node):
                place = origin.place_in(root, each.path, of_key=each.of_key)
                if place not in told:
                    errors.append(Problem.at(place, each.message))
            return
        if document.problems:
            return
        first = self._met.setdefault(resource.identity, source)
        if first is not source:
            message = f"{resource.identity} is defined twice, first at {first}"
            errors.append(Problem.at(source, message))
            return
        self.result.resources.append(read_from(resource, origin))
        for path, message in resource.without_effect():
            place = origin.place_in(root, path, of_key=True)
            self.result.warnings.append(Problem.at(place, f"{path[-1]} {message}"))


def _may_be_resource(document: Document) -> bool:
    """Whether a user would expect it to be read: it has a kind, or nobody can tell."""
    root = document.root
    if root is None:
        return bool(document.problems)
    return isinstance(root, MappingNode) and not {"kind", "apiVersion"}.isdisjoint(root.entries)


def _text(node: Node, name: str) -> str | None:
    if not isinstance(node, MappingNode) or name not in node.entries:
        return None
    value = node.entries[name][1]
    return value.value if isinstance(value, ScalarNode) and isinstance(value.value, str) else None


def _one_escape(pair: re.Match[str]) -> str:
    """YAML has no surrogate pairs, JSON no other way to escape what lies beyond U+FFFF."""
    high, low = (int(half, 16) for half in pair.groups())
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08X}"
