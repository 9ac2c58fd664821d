"""A YAML document as a tree that knows where each of its keys and values stands."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from eventing.resources.place import Path

Style = Literal["plain", "'", '"', "|", ">"]


class Mark(Protocol):
    """A position as the parser has it, everything from 0."""

    line: int
    column: int
    index: int


class Node:
    """A value and its place: `line` and `column` count from 0, `start` and `end` are offsets in
    characters, all within the document's own text. `value` is plain Python data.

    `weight` is how many nodes it stands for once aliases are written out.
    """

    __slots__ = ("column", "end", "line", "start", "value", "weight")

    def __init__(self, value: Any, mark: Mark, end: int, weight: int = 1) -> None:
        self.value = value
        self.line = mark.line
        self.column = mark.column
        self.start = mark.index
        self.end = end
        self.weight = weight


class ScalarNode(Node):
    """`text` is the scalar's own text, before it was taken for a number or a constant."""

    __slots__ = ("style", "text")

    def __init__(self, value: Any, text: str, style: Style, mark: Mark, end: int) -> None:
        super().__init__(value, mark, end, 1 + (len(text) >> 8))
        self.text = text
        self.style: Style = style


class MappingNode(Node):
    """`entries` keeps the node of each key beside that of its value, merged ones included."""

    __slots__ = ("entries",)

    def __init__(self, mark: Mark) -> None:
        super().__init__({}, mark, 0)
        self.entries: dict[str, tuple[Node, Node]] = {}


class SequenceNode(Node):
    __slots__ = ("items",)

    def __init__(self, mark: Mark) -> None:
        super().__init__([], mark, 0)
        self.items: list[Node] = []


def find(root: Node, path: Path) -> tuple[Node, Node | None, bool]:
    """The node at `path`, its key's node (None in a list and at the root), and whether the whole
    path is there; where it is not, the nearest node above it that is."""
    node, key = root, None
    for step in path:
        if isinstance(node, MappingNode) and step in node.entries:
            key, node = node.entries[str(step)]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.items):
            key, node = None, node.items[step]
        else:
            return node, key, False
    return node, key, True
