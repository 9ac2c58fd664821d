"""What the loader makes of YAML itself: its traps, its limits, its syntax errors."""

import pytest

from eventing.resources import ConfigMap, load_text


def config_map(data: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{data}"


def values(data: str) -> dict[str, str] | None:
    loaded = load_text(config_map(data), "f.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, ConfigMap)
    return resource.data


def complaints(text: str) -> list[str]:
    return [str(problem) for problem in load_text(text, "f.yaml").errors]


@pytest.mark.parametrize(
    "text", ["on", "off", "yes", "no", "y", "n", "1:30", "1_000", "2026-01-31", "=", "0b1", "1.2.3"]
)
def test_what_yaml_1_1_made_something_of_is_text(text: str) -> None:
    assert values(f"  a: {text}\n") == {"a": text}


@pytest.mark.parametrize(
    "text", ["1", "-3", "1.50", "1e3", "0x1F", "0o17", ".inf", "true", "False"]
)
def test_a_number_or_boolean_where_text_belongs_asks_for_quotes(text: str) -> None:
    (complaint,) = complaints(config_map(f"  a: {text}\n"))
    assert complaint.startswith("f.yaml:5:6: data.a: has to be text")
    assert complaint.endswith(f'write it in quotes: "{text}"')


def test_an_empty_value_where_text_belongs_asks_for_empty_quotes() -> None:
    (complaint,) = complaints(config_map("  a:\n"))
    assert complaint == 'f.yaml:5:5: data.a: is empty; write "" if that is meant'


def test_a_leading_zero_is_refused_as_ambiguous() -> None:
    (complaint,) = complaints(config_map("  a: 012\n"))
    assert complaint.startswith("f.yaml:5:6: a number with a leading zero")


def test_quotes_make_text_of_anything() -> None:
    assert values("  a: \"012\"\n  b: 'true'\n") == {"a": "012", "b": "true"}


def test_numbers_and_booleans_may_be_keys() -> None:
    assert values("  1: a\n  true: b\n  on: c\n") == {"1": "a", "true": "b", "on": "c"}


def test_a_key_given_twice_names_both_places() -> None:
    (complaint,) = complaints(config_map("  a: x\n  b: y\n  a: z\n"))
    assert complaint == 'f.yaml:7:3: the key "a" is given twice, first at f.yaml:5:3'


def test_a_key_that_is_no_text_is_refused() -> None:
    (complaint,) = complaints(config_map("  ? [1, 2]\n  : x\n"))
    assert complaint.startswith("f.yaml:5:5: a key has to be text")


def test_a_template_left_unfilled_is_pointed_at() -> None:
    *_, complaint = complaints(config_map("  a: {{ .Values.a }}\n"))
    assert complaint.startswith("f.yaml:5:7: a key has to be text")
    assert complaint.endswith("a text with {} needs quotes")


def test_aliases_are_followed() -> None:
    assert values("  a: &text hello\n  b: *text\n") == {"a": "hello", "b": "hello"}


def test_merged_keys_fill_in_what_is_not_said() -> None:
    text = """\
apiVersion: v1
kind: List
shared:
  - &one {a: "1", b: "1"}
  - &two {b: "2", c: "2"}
items:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: a}
    data: {<<: [*one, *two], a: own}
"""
    (resource,) = load_text(text).resources
    assert isinstance(resource, ConfigMap)
    assert resource.data == {"a": "own", "b": "1", "c": "2"}


def test_only_mappings_merge() -> None:
    (complaint,) = complaints(config_map("  <<: text\n"))
    assert complaint == ("f.yaml:5:7: `<<` merges a mapping or a list of mappings, nothing else")


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    assert complaints("a: &x [*x]") == ["f.yaml:1:8: this alias stands inside what it refers to"]


def test_an_alias_of_nothing_is_refused() -> None:
    assert complaints("a: *x") == [
        'f.yaml:1:4: no anchor above has this name; a text that begins with "*" needs quotes'
    ]


def test_an_alias_bomb_is_stopped() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    (complaint,) = complaints(bomb)
    assert "more than 100,000 nodes" in complaint


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_without_end_is_stopped(opening: str) -> None:
    (complaint,) = complaints(opening * 100_000)
    assert complaint.startswith("f.yaml:1:")
    assert complaint.endswith("nested deeper than 100 levels")


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!env", "!!binary", "!<x>"])
def test_foreign_tags_are_refused(tag: str) -> None:
    (complaint,) = complaints(config_map(f"  a: {tag} x\n"))
    assert complaint.startswith("f.yaml:5:6: this tag is not supported")


def test_core_tags_decide() -> None:
    assert values("  a: !!str 12\n") == {"a": "12"}
    assert complaints(config_map("  a: !!int x\n"))[0] == "f.yaml:5:6: the value is no int"


@pytest.mark.parametrize(
    ("text", "place", "remedy"),
    [
        ("a:\n\t- b\n", "f.yaml:2:1: ", "a tab can't indent in YAML, use spaces"),
        ("a: @b\n", "f.yaml:1:4: ", 'a value that begins with "@" needs quotes'),
        ("a: b: c\n", "f.yaml:1:5: ", ""),
        ("a: this: that: c\n", "f.yaml:1:8: ", ""),
        ("a: [1\nb: 2\n", "f.yaml:2:2: ", ""),
        ("a: 'x\n", "f.yaml:2:1: ", "that begins in line 1"),
        ("a: |\n  x\n y\n", "f.yaml:3:2: ", "that begins in line 1"),
    ],
)
def test_a_syntax_error_has_its_place(text: str, place: str, remedy: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.startswith(f"{place}not valid YAML: ")
    assert remedy in complaint


def test_a_syntax_error_ends_its_own_document_only() -> None:
    text = f"{config_map('')}---\na: [\n---\n{config_map('')}".replace("name: a", "name: b", 1)
    loaded = load_text(text, "f.yaml")
    assert [resource.name for resource in loaded.resources] == ["b", "a"]
    assert len(loaded.errors) == 1


def test_characters_that_yaml_forbids_have_their_place() -> None:
    (complaint,) = complaints("a: b\nc: d\x00\n")
    assert complaint.startswith("f.yaml:2:5: the character U+0000 is not allowed")


def test_bytes_that_are_no_utf_8_have_their_place() -> None:
    (problem,) = load_text("a: ü\nb: é".encode() + b"\xff", "f.yaml").errors
    assert str(problem) == "f.yaml:2:5: not UTF-8: 0xff; save the file as UTF-8"


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    text = "\ufeff" + config_map("  a: 1\n").replace("\n", "\r\n")
    assert complaints(text)[0].startswith("f.yaml:5:6: ")


def test_documents_may_be_empty_commented_and_directed() -> None:
    text = f"%YAML 1.2\n---\n---\n# nothing\n--- # here\n{config_map('  a: x')}\n...\n"
    loaded = load_text(text)
    assert (loaded.errors, len(loaded.resources)) == ([], 1)


@pytest.mark.parametrize("text", ["", "\n", "---\n", "# only a comment\n", "---\n---\n", "~"])
def test_nothing_is_no_mistake(text: str) -> None:
    loaded = load_text(text)
    assert (loaded.resources, loaded.errors, loaded.warnings) == ([], [], [])


def test_json_is_read_with_places_and_pairs_of_surrogates() -> None:
    text = (
        '{"apiVersion": "v1", "kind": "ConfigMap",\n'
        '\t"metadata": {"name": "a"}, "data": {"a": "\\ud83d\\ude00\\/", "b": 1}}'
    )
    (complaint,) = load_text(text, "f.json").errors
    assert str(complaint).startswith("f.json:2:")
    (resource,) = load_text(text.replace(', "b": 1', ""), "f.json").resources
    assert isinstance(resource, ConfigMap)
    assert resource.data == {"a": "😀/"}
