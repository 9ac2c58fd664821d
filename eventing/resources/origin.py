"""Where a resource was read from, and the place of any of its fields, found again on demand.

Keeps the document's text, not its tree: only an error or a warning ever asks for a place.
"""

from dataclasses import dataclass, field

from eventing.resources.document import read_documents
from eventing.resources.nodes import Node, ScalarNode, find
from eventing.resources.place import Path, Place
from eventing.resources.scalar_offset import offset_in_source


@dataclass(frozen=True, slots=True)
class Origin:
    """The document a resource came from. All origins are equal: the same resource read from
    another place is the same resource.

    `text` begins at line `first_line` (from 0) of `file`; the resource stands at `prefix` in it.
    """

    source: Place = field(compare=False)
    text: str = field(default="", compare=False, repr=False)
    first_line: int = field(default=0, compare=False)
    prefix: Path = field(default=(), compare=False)

    def place(self, path: Path, offset: int | None = None) -> Place:
        """The place of the value at `path`, or of its character `offset` where it is a scalar; of
        the nearest field above where there is no such field (defaults have no place)."""
        root = self.root()
        if root is None:
            return self.source
        return self.place_in(root, path, offset)

    def root(self) -> Node | None:
        return next((d.root for d in read_documents(self.text, self.source.file)), None)

    def place_in(
        self, root: Node, path: Path, offset: int | None = None, *, of_key: bool = False
    ) -> Place:
        """As `place`, in a tree at hand; `of_key` asks for the place of the field's name."""
        node, key, found = find(root, self.prefix + path)
        if offset is not None and found and isinstance(node, ScalarNode):
            index = offset_in_source(self.text, node, offset)
            line = self.text.count("\n", 0, index)
            column = index - (self.text.rfind("\n", 0, index) + 1)
        else:
            if key is not None and (of_key or not found):
                node = key
            line, column = node.line, node.column
        return Place(self.source.file, self.first_line + line + 1, column + 1)


NOWHERE = Origin(Place("<made in code>"))
