"""The place of any field, and of any character in a text, through every YAML style."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eventing.resources import ConfigMap, load_text, loaded_place

DOCUMENT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n"


WHITE = " \t\r\n\x85\u2028\u2029"


def resource(data: str, before: str = "") -> ConfigMap:
    loaded = load_text(before + DOCUMENT + data, "f.yaml")
    assert loaded.errors == []
    last = loaded.resources[-1]
    assert isinstance(last, ConfigMap)
    return last


def position(data: str, offset: int | None = None) -> tuple[int, int]:
    place = loaded_place(resource(data), ("data", "a"), offset)
    assert place.file == "f.yaml"
    return place.line, place.column


def test_a_resource_knows_where_its_document_begins() -> None:
    second = resource("  a: x\n", before="---\n# first\n---\n\n")
    assert str(second.source) == "f.yaml:5:1"
    assert str(loaded_place(second, ("data", "a"))) == "f.yaml:9:6"


def test_list_items_are_found_by_position() -> None:
    text = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec:
  broker: b
  filters:
    - exact: {type: x}
    - any:
        - cesql: "type = 'y'"
  subscriber: {uri: "http://localhost/"}
"""
    (trigger,) = load_text(text, "f.yaml").resources
    path = ("spec", "filters", 1, "any", 0, "cesql")
    assert str(loaded_place(trigger, path)) == "f.yaml:9:18"
    assert str(loaded_place(trigger, path, offset=7)) == "f.yaml:9:26"


def test_a_field_that_is_not_there_has_the_place_of_the_one_above() -> None:
    assert str(loaded_place(resource("  a: x\n"), ("data", "b", "c"))) == "f.yaml:4:1"


def test_a_resource_made_in_code_has_no_line() -> None:
    made = ConfigMap.model_validate({"metadata": {"name": "a"}})
    assert str(loaded_place(made, ("data",))) == str(made.source) == "<made in code>"


@pytest.mark.parametrize(
    ("data", "offset", "place"),
    [
        ("  a: one two\n", 4, (5, 10)),
        ("  a: one\n    two\n", 4, (6, 5)),
        ("  a: 'it''s so'\n", 3, (5, 11)),
        ('  a: "x\\ty"\n', 2, (5, 10)),
        ('  a: "\\u00e9y"\n', 1, (5, 13)),
        ('  a: "one \\\n    two"\n', 4, (6, 5)),
        ("  a: |\n    one\n    two three\n", 8, (7, 9)),
        ("  a: |1-\n    one\n", 1, (6, 5)),
        ("  a: |\n    one\n", 0, (6, 5)),
        ("  a: 'one'\n", 0, (5, 7)),
        ("  a: '  one'\n", 1, (5, 8)),
        ("  a: &b !!str\n    >-\n    one\n", 1, (7, 6)),
        ("  a: >  # folded\n    one\n    two\n\n    three\n", 8, (9, 5)),
        ("  a: >-\n    one\n    two\n", 3, (6, 8)),
        ("  a: &anchor one two\n", 4, (5, 18)),
    ],
)
def test_an_offset_sees_through_the_style(data: str, offset: int, place: tuple[int, int]) -> None:
    assert position(data, offset) == place


def test_an_offset_behind_the_end_is_the_end() -> None:
    assert position("  a: one\n", 3) == position("  a: one\n", 99) == (5, 9)
    assert position("  a: |\n    one\n", 99) == (6, 8)


def test_windows_line_ends_do_not_shift_columns() -> None:
    text = (DOCUMENT + "  a: |\n    one\n    two\n").replace("\n", "\r\n")
    (loaded,) = load_text(text, "f.yaml").resources
    assert str(loaded_place(loaded, ("data", "a"), 4)) == "f.yaml:7:5"


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.data())
def test_every_visible_character_among_escapes_is_found(text: str, data: st.DataObject) -> None:
    written = [c if c.isalnum() and c.isascii() else f"\\U{ord(c):08X}" for c in text]
    offset = data.draw(st.integers(0, len(text) - 1))
    assume(text[offset] not in WHITE)
    column = len('  a: "') + sum(map(len, written[:offset])) + 1
    assert position(f'  a: "{"".join(written)}"\n', offset) == (5, column)


@settings(deadline=None)
@given(st.lists(st.text("ab ", min_size=1).map(str.strip).filter(bool), min_size=1), st.data())
def test_every_character_of_a_literal_block_is_found(lines: list[str], data: st.DataObject) -> None:
    block = "".join(f"      {line}\n" for line in lines)
    row = data.draw(st.integers(0, len(lines) - 1))
    column = data.draw(st.integers(0, len(lines[row]) - 1))
    offset = sum(len(line) + 1 for line in lines[:row]) + column
    assert position(f"  a: |\n{block}", offset) == (6 + row, 7 + column)
