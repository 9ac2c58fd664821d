"""YAML text to documents of positioned nodes: bounded in depth and size, nothing lost silently.

Reads the parser's events one by one instead of PyYAML's node tree: that is built by recursion in
C, and a hundred thousand opening brackets end the process there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from eventing.resources.nodes import MappingNode, Mark, Node, ScalarNode, SequenceNode, Style
from eventing.resources.place import Place, Problem
from eventing.resources.scalars import is_ambiguous, resolve

MAX_DEPTH = 100
MAX_NODES = 100_000
"""Nodes of one document, aliases written out: what bounds an alias bomb."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_SCANNED_TOO_DEEP = "exceeded maximum nesting depth"
"""libyaml's words: it looks for the end of a list in brackets before it tells of its beginning."""

try:
    from yaml.cyaml import CParser as _Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML built without libyaml: the same events, ten times slower
    from yaml import SafeLoader as _Parser  # type: ignore[assignment]

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS = {
    f"{_CORE}int": int,
    f"{_CORE}float": float,
    f"{_CORE}bool": bool,
    f"{_CORE}null": type(None),
}


@dataclass(slots=True)
class Document:
    """One document of a file: its own text, the line that starts on, and what it says.

    `root` is None where it is empty or broken; `problems` are what a reader would trip over.
    """

    file: str
    text: str
    first_line: int
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def place(self, node: Node) -> Place:
        return Place(self.file, self.first_line + node.line + 1, node.column + 1)


class _Refused(Exception):
    """The rest of the document can't be read."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark


def read_documents(text: str, file: str) -> Iterator[Document]:
    """Every document of a text, the broken ones with their problems. Never raises.

    A syntax error ends its own document only: the next `---` starts afresh.
    """
    text = text.removeprefix("\ufeff")
    line = 0
    for part in _parts(text):
        document = Document(file, part, line)
        _read(document)
        if document.root is not None or document.problems:
            yield document
        line += part.count("\n")


def _parts(text: str) -> Iterator[str]:
    starts = [match.start() for match in _SEPARATOR.finditer(text)]
    if starts and not _DIRECTIVE.search(text, 0, starts[0]):
        starts.insert(0, 0)
    else:  # `%YAML` and its like belong to the document after them
        starts[:1] = [0]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text[start:end]


def _read(document: Document) -> None:
    text = document.text
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        start = unprintable.start()
        document.problems.append(
            Problem(
                document.file,
                document.first_line + text.count("\n", 0, start) + 1,
                start - text.rfind("\n", 0, start),
                f"the character U+{ord(unprintable.group()):04X} is not allowed in YAML; "
                'inside double quotes write it as an escape such as "\\x00"',
            )
        )
        return
    composer = _Composer(document)
    try:
        document.root = composer.compose()
    except _Refused as refused:
        composer.complain(refused.mark, str(refused))
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        composer.complain(mark, _syntax_message(error, mark, document))
    except yaml.YAMLError as error:
        composer.complain(None, f"not valid YAML: {error}")


class _Composer:
    """Builds one document's tree from its events, iteratively."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0

    def complain(self, mark: Mark | Node | None, message: str) -> None:
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        document = self.document
        place = Place(document.file, document.first_line + line + 1, column + 1)
        document.problems.append(Problem.at(place, message))

    def compose(self) -> Node | None:
        """The root node, None for an empty document. Raises _Refused and yaml.YAMLError."""
        parser = _Parser(self.document.text)
        root: Node | None = None
        documents = 0
        open_nodes: list[tuple[MappingNode | SequenceNode, str | None, list[Node]]] = []
        children: list[Node] = []
        while True:
            event: Any = parser.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                node: Node = self._scalar(event)
                if event.anchor is not None:
                    self.anchors[event.anchor] = node
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(open_nodes) == MAX_DEPTH:
                    raise _Refused(event.start_mark, _TOO_DEEP)
                if event.anchor is not None:
                    self.anchors[event.anchor] = None
                open_nodes.append((self._collection(event), event.anchor, children))
                children = []
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                node, anchor, siblings = open_nodes.pop()
                self._fill(node, children, event.end_mark.index)
                if anchor is not None:
                    self.anchors[anchor] = node
                children = siblings
            elif kind is yaml.AliasEvent:
                node = self._aliased(event)
                self.nodes += node.weight - 1
            elif kind is yaml.StreamEndEvent:
                return root
            else:
                documents += kind is yaml.DocumentStartEvent
                if documents > 1:
                    raise _Refused(event.start_mark, "a further document begins with a line `---`")
                continue
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise _Refused(
                    event.start_mark,
                    f"the document has more than {MAX_NODES:,} nodes, aliases written out",
                )
            if open_nodes:
                children.append(node)
            else:
                root = node

    def _scalar(self, event: Any) -> ScalarNode:
        text: str = event.value
        tag = event.tag
        style: Style = event.style or "plain"
        value: object = text
        if tag is None:
            if event.implicit[0]:
                value = resolve(text)
                if value is not text and is_ambiguous(text):
                    self.complain(
                        event.start_mark,
                        "a number with a leading zero means one thing to YAML 1.1 (octal) and "
                        "another to YAML 1.2; write it without, or in quotes if it is text",
                    )
        elif tag in _SCALAR_TAGS:
            value = resolve(text)
            if type(value) is int and tag == f"{_CORE}float":
                value = float(value)
            if type(value) is not _SCALAR_TAGS[tag]:
                self.complain(event.start_mark, f"the value is no {tag.removeprefix(_CORE)}")
        elif tag not in ("!", f"{_CORE}str"):
            self._refuse_tag(event)
        return ScalarNode(value, text, style, event.start_mark, event.end_mark.index)

    def _collection(self, event: Any) -> MappingNode | SequenceNode:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", f"{_CORE}{'map' if mapping else 'seq'}"):
            self._refuse_tag(event)
        return (MappingNode if mapping else SequenceNode)(event.start_mark)

    def _refuse_tag(self, event: Any) -> None:
        self.complain(
            event.start_mark,
            'this tag is not supported; a text that begins with "!" needs quotes',
        )

    def _aliased(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise _Refused(
                event.start_mark,
                'no anchor above has this name; a text that begins with "*" needs quotes',
            )
        node = self.anchors[event.anchor]
        if node is None:
            raise _Refused(event.start_mark, "this alias stands inside what it refers to")
        return node

    def _fill(self, node: MappingNode | SequenceNode, children: list[Node], end: int) -> None:
        node.end = end
        node.weight += sum(child.weight for child in children)
        if isinstance(node, MappingNode):
            self._fill_mapping(node, children)
        else:
            node.items = children
            node.value = [child.value for child in children]

    def _fill_mapping(self, mapping: MappingNode, children: list[Node]) -> None:
        entries = mapping.entries
        merged: list[Node] = []
        pairs = iter(children)
        for key, value in zip(pairs, pairs, strict=True):
            if not isinstance(key, ScalarNode) or key.value is None:
                what = "empty" if isinstance(key, ScalarNode) else "a list or a mapping"
                self.complain(
                    key, f"a key has to be text, this one is {what}; a text with {{}} needs quotes"
                )
                continue
            name = key.text
            if name == "<<" and key.style == "plain":
                merged.append(value)
            elif name in entries:
                first = self.document.place(entries[name][0])
                self.complain(key, f'the key "{name}" is given twice, first at {first}')
            else:
                entries[name] = (key, value)
        for node in merged:
            self._merge(entries, node)
        mapping.value = {name: value.value for name, (_, value) in entries.items()}

    def _merge(self, entries: dict[str, tuple[Node, Node]], node: Node) -> None:
        """`<<`: the mapping's own keys win, then the first of several merged ones."""
        for source in node.items if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode):
                self.complain(node, "`<<` merges a mapping or a list of mappings, nothing else")
                return
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)


def _syntax_message(error: yaml.MarkedYAMLError, mark: Mark | None, document: Document) -> str:
    if error.problem == _SCANNED_TOO_DEEP:
        return _TOO_DEEP
    message = f"not valid YAML: {error.problem or error.context}"
    context: Any = error.context_mark
    if error.context and context and mark and context.line != mark.line:
        message += f" {error.context} that begins in line {document.first_line + context.line + 1}"
    remedy = _remedy(document.text, mark) if mark is not None else ""
    return f"{message}; {remedy}" if remedy else message


def _remedy(text: str, mark: Mark) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation:
        return "a tab can't indent in YAML, use spaces"
    if line[mark.column : mark.column + 1] in ("@", "`", "%"):
        return f'a value that begins with "{line[mark.column]}" needs quotes'
    if line[mark.column : mark.column + 1] == ":" and ": " in line[: mark.column]:
        return 'a value that holds ": " needs quotes'
    return ""
