"""The place in a file of a character of a scalar's value: what quoting and folding hide.

Folding only ever changes white space, so the n-th visible character of the value is the n-th of
the source, for every style; escapes are the one thing to step over.
"""

import re
from collections.abc import Iterator
from itertools import islice

from eventing.resources.nodes import ScalarNode

_WHITE = " \t\r\n\x85\u2028\u2029"
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)", re.DOTALL)
_PROPERTIES = re.compile(r"(?:[&!]\S*\s*)+")
"""An anchor, a tag: they stand before the scalar's own text."""
_WHITE_ESCAPES = frozenset("nrtNLP" + _WHITE)


def offset_in_source(text: str, node: ScalarNode, offset: int) -> int:
    """The index in `text` of character `offset` of the scalar's value.

    A white-space character is exact where its line is not folded, else near; an offset at or
    behind the value's end is just behind its last visible character.
    """
    value = node.text
    before = value[:offset]
    visible_before = sum(character not in _WHITE for character in before)
    places = _visible(text, node)
    last = _content_start(text, node)
    for _, end in islice(places, visible_before):
        last = end
    if offset < len(value) and value[offset] not in _WHITE:
        return next(places, (last, last))[0]
    trailing = len(before) - len(before.rstrip(_WHITE))
    line_end = text.find("\n", last)
    return min(last + trailing, line_end if line_end >= 0 else len(text))


def _visible(text: str, node: ScalarNode) -> Iterator[tuple[int, int]]:
    """Start and end of the source of each visible character of the scalar, in order."""
    position = _content_start(text, node)
    end = node.end - 1 if node.style in ("'", '"') else node.end
    while position < end:
        step = 1
        visible = text[position] not in _WHITE
        if node.style == "'" and text[position] == "'":
            step = 2
        elif node.style == '"' and text[position] == "\\":
            match = _ESCAPE.match(text, position)
            escaped = match.group()[1:] if match else ""
            step = 1 + len(escaped)
            visible = not _is_white(escaped)
        if visible:
            yield position, position + step
        position += step


def _content_start(text: str, node: ScalarNode) -> int:
    properties = _PROPERTIES.match(text, node.start)
    start = properties.end() if properties else node.start
    if node.style == "plain":
        return start
    if node.style in ("'", '"'):
        return start + 1
    header_end = text.find("\n", start)
    return header_end + 1 if header_end >= 0 else len(text)


def _is_white(escaped: str) -> bool:
    if len(escaped) > 2:
        return chr(int(escaped[1:], 16)) in _WHITE
    return escaped in _WHITE_ESCAPES or escaped == "\r\n"
